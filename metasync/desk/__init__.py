"""The desk: what people and programs ask and order, answered in values that have a JSON form of their own.

Questions are answered from the store alone; orders go through the engine. One desk stands behind the command line, the
JSON API and the status page; `RemoteDesk` asks a running service's over HTTP. It prints nothing and knows no HTML.
"""
