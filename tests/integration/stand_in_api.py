"""The API's stand-in, a module of its own so that it is told from the others by its name."""

from tests.integration import stand_in_process

if __name__ == "__main__":
    stand_in_process.main()
