"""Ship: what leaves the workbench: models for other programs, submissions, references.

Everything here starts from a run on disk. It imports `tailwise.study` and what is below it; only the commands and `tailwise.api` import it.
"""

from tailwise.ship.citations import Citation, cite, runs_of
from tailwise.ship.export import Exported, export
from tailwise.ship.submission import Submission, write_submission

__all__ = ["Citation", "Exported", "Submission", "cite", "export", "runs_of", "write_submission"]
