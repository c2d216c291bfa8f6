"""A configuration with a canary in every secret of every setting."""

from __future__ import annotations

CANARY = "canary-7f3a"
RULES = 'rules: [{name: dev, repository: lake, branches: ["dev-*"], tables: ["sales.*"]}]\n'
EVERYWHERE = f"""
lakefs: {{endpoint_url: "http://127.0.0.1:1", access_key_id: k, secret_access_key: {CANARY}-lakefs}}
metastore: {{uris: ["https://127.0.0.1:1/m"], auth: {{type: jwt, token: {CANARY}-jwt}}, connect_timeout: 200ms}}
store: {{url: "postgresql://user:{CANARY}-store@127.0.0.1:1/x?password={CANARY}-query"}}
server: {{token: {CANARY}-token, webhook_token: {CANARY}-webhook}}
notifications:
  - {{name: a, type: slack, url: "http://127.0.0.1:1/{CANARY}-slack"}}
  - {{name: b, type: webhook, url: "http://x:{CANARY}-url@127.0.0.1:1/", secret: {CANARY}-secret}}
  - name: c
    type: email
    mail: {{host: 127.0.0.1, port: 1, user: u, password: {CANARY}-mail, sender: a@b, to: [c@d]}}
after_apply: [{{name: d, url: "http://127.0.0.1:1/{CANARY}-hook", secret: {CANARY}-hooksecret}}]
"""
