"""Starts the console: the pages, and beside them the receiver, the poller and the sender, in one process.

This is the launcher, not the page script. With a script beside the folder `pages/`, Streamlit's old page discovery
would list every file there as a page of its own and run modules twice; with the script inside `pages/` none of that
happens, and `streamlit run dashboard.py` and `uvicorn dashboard:app` start the same thing.
"""

import os
import sys
from pathlib import Path

import streamlit as st

from tracking.errors import SettingsError, TrackingError
from tracking.server import Backend
from tracking.settings import load

HERE = Path(__file__).resolve().parent


def start() -> Backend:
    """The backend; ends the process with a clear message when it cannot work (2: settings, 1: anything else)."""
    os.chdir(HERE)  # `.env` and `data/` belong to the project, from whatever folder it is started
    try:
        return Backend(load())
    except SettingsError as exc:
        for problem in exc.problems:
            print(f"settings: {problem}", file=sys.stderr)  # noqa: T201 - there is no log yet, and a person waits
        sys.exit(2)
    except TrackingError as exc:
        print(f"cannot start: {exc}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(1)


backend = start()
# Written out like this, because `streamlit run` looks for these very words to tell a launcher from a page script.
app = st.App(str(HERE / "pages" / "main.py"), routes=backend.routes(), lifespan=backend.lifespan)
