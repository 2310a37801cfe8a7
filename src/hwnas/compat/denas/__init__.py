"""DE-NAS's search command, conf files and structure files (Intel's e2eAIOK), over the searches and scores of hwnas."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.errors import nearest

VERBS = ("search",)


def main(arguments: Sequence[str]) -> int:
    """`hwnas denas search …`; training is the business of `hwnas train`.

    Returns:
        The exit code.
    """
    from rich.console import Console

    words = list(arguments)
    if words[:1] == ["search"]:
        from hwnas.compat.denas.search import main as search

        return search(words[1:])
    err = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
    if not words or words[0] in ("-h", "--help"):
        err.print("usage: hwnas denas search --domain {cnn,vit,bert,asr,hf} --conf FILE; see hwnas denas search --help")
        return 0 if words else 2
    err.print(f"error: hwnas denas has no command {words[0]!r}; {nearest(words[0], VERBS)}", style="bold red")
    err.print("  → what a search has found is trained by hwnas train")
    return 2


__all__ = ["main"]
