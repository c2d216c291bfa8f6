"""The adapter to people and programs that are notified: Slack-compatible and signed webhooks, e-mail.

Foreign errors stop here: ChannelUnavailable where sending again may help, PermanentError where it was refused.
Addresses and secrets are in no message and no log.
"""

from metasync.channels.senders import Message, Sender, sender_of

__all__ = ["Message", "Sender", "sender_of"]
