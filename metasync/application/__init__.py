"""The application: what people and programs ask and order, answered in values that have a JSON form of their own.

queries      questions, answered from the store alone
requests     what is asked of running services, through their store
orders       what goes through the engine
interface    these three as protocols; `remote` implements them over a running service's JSON API
notifications  what needs attention, and what was done, to the channels

It prints nothing and knows no HTML.
"""
