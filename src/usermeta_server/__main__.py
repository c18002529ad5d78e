"""`python -m usermeta_server` is `usermeta`."""

from usermeta_server.cli import main

if __name__ == "__main__":
    main()
