"""Choice of what the embedded sandbox does with an order, in words; the scenario's word goes into the note."""

import streamlit as st

import session
from tracking.app import embedded_sandbox
from tracking.app.environment import EnvironmentKind

OTHER = "other"
# What is tried most often: the scenario's word, its title, and what there is to watch.
FIRST = {
    "": ("Default", "Accepted and completed as documented."),
    "timeout": (
        "Timeout after placing",
        "We send it and get no answer: watch how it is settled without a second order.",
    ),
    "lost-webhook": ("Lost webhook", "No webhook comes: watch polling detect the completion by itself."),
    "duplicate-webhook": ("Duplicate webhooks", "Three webhooks for one completion: watch two of them be ignored."),
    "slow": ("Slow", "Takes ten times as long: watch the expected time and the polls adapt."),
    "approval": ("Approval", "Waits for an approval before it is processed."),
    "unknown-status": ("New status", "Passes through a status that nobody has heard of."),
    "insufficient-funds": ("Balance too low", "Its first send is refused: watch it ask for a decision."),
    "cancelled": ("Cancelled", "Ends cancelled by the provider: watch it ask for a decision."),
}


def is_offered() -> bool:
    """Whether the provider is the embedded sandbox: to any other, the word would be a part of the note."""
    return session.environment().kind is EnvironmentKind.SANDBOX


def picker() -> None:
    """Choose a scenario, most often one of the first; below it, what there is to watch."""
    others = {word: effect for word, effect in embedded_sandbox.note_words().items() if word not in FIRST}
    titles = {word: title for word, (title, _) in FIRST.items()} | {OTHER: "More"}
    st.session_state.setdefault("scenario", "")
    picked = st.pills(
        "Sandbox scenario",
        list(titles),
        key="scenario",
        required=True,
        format_func=lambda word: titles[word],
        persist_state="session",
        wrap=True,
        help="How the simulated provider treats this order. Its word is added to the note.",
    )
    if picked != OTHER:
        st.caption(FIRST[picked or ""][1])
        return
    st.selectbox(
        "Scenario",
        list(others),
        key="other_scenario",
        format_func=lambda word: f"{word.replace('-', ' ').capitalize()}: the order {others[word]}",
        label_visibility="collapsed",
        persist_state="session",
    )


def note_tag() -> str:
    """The word by which the sandbox knows how to behave, in square brackets; empty for any other provider."""
    if not is_offered():
        return ""
    word = st.session_state.get("scenario")
    word = st.session_state.get("other_scenario") if word == OTHER else word
    return f"[{word}]" if word else ""


def is_scenario(word: str) -> bool:
    """Whether there is a scenario of this word, or a way to choose another one."""
    return word == OTHER or word in FIRST or word in embedded_sandbox.note_words()
