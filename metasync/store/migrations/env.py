"""Alembic's entry: always on the connection that `Database.upgrade` gives."""

from alembic import context

from metasync.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
