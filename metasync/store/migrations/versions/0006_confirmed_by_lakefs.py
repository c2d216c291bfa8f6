"""What lakeFS itself confirmed: when a ref was first listed, sources of merges; merges that stay open for a table."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("repositories") as repositories:
        repositories.alter_column("creation_date", type_=sa.BigInteger(), existing_type=sa.Integer())
    op.add_column("refs", sa.Column("listed_at", sa.Float(), nullable=True))
    op.add_column("refs", sa.Column("suspected_at", sa.Float(), nullable=True))
    op.add_column("refs", sa.Column("unread", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("merges") as merges:
        merges.alter_column("strategy", type_=sa.Text(), existing_type=sa.String(length=32))
    op.add_column("merges", sa.Column("confirmed", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("merge_tables", sa.Column("error", sa.Text(), nullable=True))
    # A column can be called `*`, so the list of columns that are read by position has another name now.
    renamed = """UPDATE conflicts SET path = '["{0}", "ALL"]' WHERE path = '["{0}", "*"]'"""
    for kind in ("columns", "spark_schema"):
        op.execute(renamed.format(kind))
    op.create_table(
        "ended_sessions",
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session", name=op.f("pk_ended_sessions")),
    )
