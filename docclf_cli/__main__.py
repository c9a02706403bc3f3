"""`python -m docclf_cli` and the `docclf` command."""

from docclf_cli.app import main

if __name__ == "__main__":
    main()
