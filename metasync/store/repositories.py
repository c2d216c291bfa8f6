"""The repositories that were ever seen: a name, and which of the repositories of that name."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from metasync.model.lakefs import Repository
from metasync.store.database import Database, new_id
from metasync.store.schema import repositories


class RepositoryStore:
    """Reads and writes of repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def id_of(self, repository: Repository) -> int:
        """The row of this very repository (name, creation date, namespace); made where it is new."""
        match = (
            repositories.c.name == repository.name,
            repositories.c.creation_date == repository.creation_date,
            repositories.c.storage_namespace == repository.storage_namespace,
        )
        wanted = select(repositories.c.id).where(*match)
        with self._database.reading() as connection:
            found = connection.execute(wanted).scalar_one_or_none()
        if found is not None:
            return int(found)
        with self._database.transaction() as connection:
            found = connection.execute(wanted).scalar_one_or_none()
            if found is not None:
                return int(found)
            result = connection.execute(
                insert(repositories).values(
                    name=repository.name,
                    creation_date=repository.creation_date,
                    storage_namespace=repository.storage_namespace,
                    default_branch=repository.default_branch,
                )
            )
            return new_id(result)

    def identities(self, name: str) -> tuple[Repository, ...]:
        """Every repository of that name that was ever seen, the newest last."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(repositories).where(repositories.c.name == name).order_by(repositories.c.id)
            ).all()
        return tuple(Repository(r.name, r.creation_date, r.storage_namespace, r.default_branch) for r in rows)

    def names(self) -> tuple[str, ...]:
        """The names of all repositories that were ever seen."""
        with self._database.reading() as connection:
            return tuple(connection.execute(select(repositories.c.name).distinct()).scalars())

    def get(self, repository_id: int) -> Repository:
        with self._database.reading() as connection:
            r = connection.execute(select(repositories).where(repositories.c.id == repository_id)).one()
        return Repository(r.name, r.creation_date, r.storage_namespace, r.default_branch)

    def blocked(self, name: str) -> str:
        """Why nothing is written for the newest repository of that name; empty where nothing stands in the way."""
        query = select(repositories.c.blocked).where(repositories.c.name == name).order_by(repositories.c.id.desc())
        with self._database.reading() as connection:
            return str(connection.execute(query.limit(1)).scalar_one_or_none() or "")

    def block(self, repository_id: int, why: str) -> None:
        """Notes, or with an empty text takes back, why nothing is written for a repository."""
        which = repositories.c.id == repository_id
        with self._database.transaction() as connection:
            connection.execute(update(repositories).where(which, repositories.c.blocked != why).values(blocked=why))

    def sever(self, repository_id: int, version: int) -> None:
        """From now on, no version up to this one is a base of any merge of the repository."""
        with self._database.transaction() as connection:
            connection.execute(
                update(repositories).where(repositories.c.id == repository_id).values(severed_at=version)
            )

    def severed_at(self, repository_id: int) -> int:
        with self._database.reading() as connection:
            query = select(repositories.c.severed_at).where(repositories.c.id == repository_id)
            return int(connection.execute(query).scalar_one())
