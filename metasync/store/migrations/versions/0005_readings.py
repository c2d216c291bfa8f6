"""What a table was at a place in the metastore's notification log."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "readings",
        sa.Column("ref_id", sa.Integer(), nullable=False),
        sa.Column("logical", sa.String(length=400), nullable=False),
        sa.Column("definition", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("logged_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["ref_id"], ["refs.id"], name=op.f("fk_readings_ref_id_refs")),
        sa.PrimaryKeyConstraint("ref_id", "logical", name=op.f("pk_readings")),
    )
