"""`python -m edge_glass` is the same program as `edge-glass`."""

from edge_glass.cli import main

if __name__ == "__main__":
    main()
