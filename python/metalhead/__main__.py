"""`python -m metalhead` is the `metalhead` command."""

from .cli import main

raise SystemExit(main())
