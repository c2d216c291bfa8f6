"""Leases with tokens in place of each event's own; pauses and notices; catching up in steps; severed histories."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leases", sa.Column("token", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("leases") as leases:
        leases.alter_column("name", type_=sa.String(length=128), existing_type=sa.String(length=64))
        leases.alter_column("holder", type_=sa.String(length=400), existing_type=sa.String(length=64))
    with op.batch_alter_table("events") as events:
        events.drop_column("lease_until")
        events.drop_column("holder")
    op.add_column("refs", sa.Column("walk_head", sa.String(length=64), nullable=True))
    op.add_column("refs", sa.Column("walk_at", sa.String(length=64), nullable=True))
    op.add_column("refs", sa.Column("waited", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("refs", sa.Column("looked_last", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("refs") as refs:
        refs.drop_column("tables_read_at")
    op.add_column("repositories", sa.Column("blocked", sa.Text(), nullable=False, server_default=""))
    op.add_column("repositories", sa.Column("severed_at", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("help", sa.Text(), nullable=False),
        sa.Column("ref_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_repository"), "notices", ["repository"], unique=False)
    op.create_table(
        "pauses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=128), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pauses")),
    )
    op.add_column("heads", sa.Column("whole", sa.Integer(), nullable=False, server_default="0"))
