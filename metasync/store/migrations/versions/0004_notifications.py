"""What each channel of notifications was told; the merge that a thing was done for; how far on a head is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "told",
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "key", name=op.f("pk_told")),
    )
    op.create_table(
        "cursors",
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("history_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_cursors")),
    )
    op.add_column("heads", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_events_finished", "events", ["state", "kind", "finished_at"])
    op.add_column("history", sa.Column("merge_id", sa.Integer(), nullable=True))
