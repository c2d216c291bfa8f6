"""A choice for each conflict, and the head up to which a ref's partitions were discovered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conflicts", sa.Column("choice", sa.String(length=8), nullable=True))
    op.add_column("refs", sa.Column("discovered_head", sa.String(length=64), nullable=True))
