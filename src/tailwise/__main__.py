"""`python -m tailwise`."""

from tailwise.cli import main

if __name__ == "__main__":
    main()
