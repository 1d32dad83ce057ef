"""One SQLite file: what was acknowledged is on the disk, whoever kills what; several processes may share it."""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from truing.core.errors import InputError, RunError

VERSION = 1
SCHEMA = Path(__file__).with_name("schema.sql")


class Database:
    """A connection that threads take in turn."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it, readable by its owner alone.

        Raises:
            InputError: it is no database of truing's labels, or one of another version, or the disk refuses.
        """
        self.path = path
        self._turn = threading.Lock()
        try:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # names and votes are nobody else's
            self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._sql.row_factory = sqlite3.Row
            self._refuse_others()  # before anything is set, which would change the file of another program
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
                self._sql.execute(f"PRAGMA {pragma}")
            self._make()
            self.name = self.setting("file", secrets.token_hex(8))
            """Its own: a page that was left open on another file, at the same address, is not taken for one of this"""
        except (sqlite3.Error, OSError) as error:
            hint = "Name the file that truing label made, or a new one, with --labels."
            what = f"cannot be used for labels: {error}."
            raise InputError(what, code="input/no-labels", where=str(path), hint=hint) from error

    def _refuse_others(self) -> None:
        tables = {row["name"] for row in self._sql.execute("SELECT name FROM sqlite_master")}
        version = self._sql.execute("PRAGMA user_version").fetchone()[0]
        if tables and not tables >= {"settings", "items", "assignments", "votes"}:
            raise sqlite3.DatabaseError("it is the database of another program")
        if tables and version != VERSION:
            what = f"holds labels of version {version}, and this truing reads version {VERSION}."
            hint = "Use the truing that made it to export them, or name a new file with --labels."
            raise InputError(what, code="input/labels-version", where=str(self.path), hint=hint)

    def _make(self) -> None:
        """Where nothing is there yet."""
        with self.writing() as sql:
            if not sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in SCHEMA.read_text(encoding="utf-8").split(";\n"):
                    sql.execute(statement)
                sql.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside: all of it is on the disk when the block has ended, or none.

        Raises:
            RunError: the disk refuses, as everywhere here.
        """
        with self._turn, self._faults():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file, whatever is written meanwhile."""
        with self._turn, self._faults():
            self._sql.execute("BEGIN")
            try:
                yield self._sql
            finally:
                self._sql.execute("ROLLBACK")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "Make room, or put the file back; then the same command goes on."
            what = f"cannot be used for labels: {error}."
            raise RunError(what, code="run/labels", where=str(self.path), hint=hint) from error

    def setting(self, name: str, value: str) -> str:
        """What was said first under this name; `value`, if nothing was."""
        with self.writing() as sql:
            sql.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, value))
            return str(sql.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0])

    def truncate_log(self) -> None:
        """Takes out of the write-ahead log what was deleted, too."""
        with self._turn, self._faults():
            self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Closes the file."""
        self._sql.close()


def now() -> str:
    """For people to read; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
