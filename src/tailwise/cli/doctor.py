"""`tailwise doctor`: what is installed, what runs here, what the store holds."""

from __future__ import annotations


def doctor(*, json: bool = False) -> None:
    """Say which versions are installed, which device is used, and what the store holds.

    Parameters
    ----------
    json
        Print it as JSON.
    """
    import platform
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    import torch

    from tailwise.cli.tables import print_json, say
    from tailwise.store import Store
    from tailwise.study.numerics import choose_device, describe_numerics
    from tailwise.version import __version__

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    needed = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requires("tailwise") or () if "extra ==" not in line]
    store = Store()
    device = choose_device("auto")
    found = {
        "tailwise": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed(name) for name in needed},
        "device": str(device),
        "numerics": describe_numerics(device, torch.get_num_threads()),
        "store": str(store.root),
        "store_limit_bytes": store.limit,
        "store_bytes": store.sizes(),
    }
    if json:
        print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, dict):
            say(f"{key}:")
            for name, inner in value.items():
                say(f"  {name}: {_megabytes(inner) if isinstance(inner, int) else inner}")
        else:
            say(f"{key}: {_megabytes(value) if isinstance(value, int) else value}")


def _megabytes(count: int) -> str:
    return f"{count / 1024**2:,.1f} MB"
