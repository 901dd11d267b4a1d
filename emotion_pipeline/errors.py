"""The two errors that a person is told of: wrong input, and a clip that cannot be used."""


class UserError(ValueError):
    """Parameters, data or machine are not as they must be; the message names what, its value, and what to do."""


class ClipError(Exception):
    """This one clip cannot be used: a short machine-readable reason and a sentence for a person.

    Reasons in use: `unreadable`, `truncated`, `empty`, `too_long`, `too_short`, `no_sound`, `no_face`, `timeout`,
    `crash`, `memory`.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
