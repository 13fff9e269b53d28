"""Users' files of methods are trained, never collected."""

collect_ignore_glob = ["methods/*"]
