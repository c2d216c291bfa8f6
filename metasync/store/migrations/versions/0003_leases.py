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
    with op.batch_alter_table("refs") as refs:
        refs.drop_column("tables_read_at")
