"""Pages: what people look at and show to others.

Lives here: figures, the report page. Not here: any number; pages show what `evaluation` computed and what records on disk say.
May import: `evaluation`, `data` and the vocabulary. Never the trainer.
"""

from tailwise.pages.content import Content, RowContent
from tailwise.pages.figures import FIGURE_NAMES, figures
from tailwise.pages.report import figure_files, report_page

__all__ = ["FIGURE_NAMES", "Content", "RowContent", "figure_files", "figures", "report_page"]
