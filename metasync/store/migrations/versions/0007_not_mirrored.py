"""Tables that a ref has no mirror of, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "not_mirrored",
        sa.Column("ref_id", sa.Integer(), nullable=False),
        sa.Column("logical", sa.String(length=400), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["ref_id"], ["refs.id"], name=op.f("fk_not_mirrored_ref_id_refs")),
        sa.PrimaryKeyConstraint("ref_id", "logical", name=op.f("pk_not_mirrored")),
    )
