"""``python -m cloudbandit``."""

from cloudbandit.cli import main

main()
