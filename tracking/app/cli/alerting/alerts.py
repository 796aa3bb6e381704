"""Commands `tracking alerts ...`: list, test, snooze, unsnooze, rules."""

import concurrent.futures
from datetime import datetime
from typing import Annotated

import typer

from tracking.alerting import listing, messages, snoozing
from tracking.alerting.notifier import SEND_SECONDS
from tracking.alerting.rules import ALL, RULES
from tracking.alerting.services import INSTALL, SETTING, load_services
from tracking.alerting.setup import origin_of
from tracking.app.cli import options, output
from tracking.app.cli.context import load_settings, open_store
from tracking.app.environment import environment_label
from tracking.app.folders import console_folder
from tracking.errors import Problem, SettingsError
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.settings.alerts import AlertRule

alerts = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Alerts that leave the console: list, test, snooze, unsnooze, rules.",
)
RuleArgument = Annotated[
    str, typer.Argument(parser=options.one_of(snoozing.CHOICES), metavar="RULE", help=f"A rule, or {ALL}.")
]


@alerts.command("list")
def list_command(
    *,
    limit: Annotated[int, typer.Option(min=1, max=listing.LISTED, help="Maximum number of those that are over.")] = 20,
    as_json: options.JsonFlag = False,
) -> None:
    """List the alerts that last, and the newest of those that are over."""
    now, loaded = utc_now(), load_settings()
    listed = listing.alert_list(open_store(loaded), now)
    rows = [*listed.lasting, *output.first_of(listed.past, limit)]
    states = {alert.id: listed.state(alert, now, loaded.alerts_quiet) for alert in rows}
    if as_json:
        output.print_json([listing.record(alert, states[alert.id]) for alert in rows])
        return
    output.print_table(
        ("since (UTC)", "until (UTC)", "rule", "what", "message"),
        ((alert.began_at, alert.ended_at, alert.rule, alert.detail["title"], states[alert.id]) for alert in rows),
    )
    for snooze in listed.snoozes.values():
        output.print_stderr(f"{snooze.rule}: snoozed until {output.time_text(snooze.until)} by {snooze.by}")
    is_armed, why = listing.silence_standing(listed.arming)
    if not is_armed:
        output.print_stderr(f"{AlertRule.WEBHOOKS.value} is {why}")
    if listed.lead is None:
        output.print_stderr("no process sends alerts now: the list is as it was when one last did")


@alerts.command("test")
def try_command(
    *,
    rule: Annotated[
        str | None, typer.Option("--rule", parser=options.one_of([*RULES]), metavar="RULE", help="As of this rule.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Send a message to each service, and say which took it; exit 1 where one did not. Needs no database."""
    loaded = load_settings()
    services = load_services(loaded.alerts, loaded.console_url, console_folder())
    if not services:
        raise SettingsError([Problem(SETTING, f"is not set: name the services that alerts go to, and {INSTALL}")])
    message = messages.test_message(AlertRule(rule) if rule else None, origin_of(loaded, environment_label(loaded)))
    calls = {service.name: service.start(message) for service in services}
    concurrent.futures.wait(calls.values(), timeout=SEND_SECONDS)
    taken = {name: call.result() if call.done() else None for name, call in calls.items()}
    why = {service.name: service.cause for service in services if taken[service.name] is False}
    if as_json:
        output.print_json(
            [
                {"service": name, "taken": bool(took)} | ({"cause": why[name]} if why.get(name) else {})
                for name, took in taken.items()
            ]
        )
    else:
        words = {True: "taken", False: "not taken", None: f"no answer for {SEND_SECONDS:.0f} s"}
        rows = [(name, ": ".join(filter(None, (words[took], why.get(name))))) for name, took in taken.items()]
        output.print_table(("service", "message"), rows)
    if not all(taken.values()):
        raise typer.Exit(1)


@alerts.command("snooze")
def snooze_command(
    rule: RuleArgument,
    *,
    until: Annotated[datetime, options.time_ahead_option("Until 2026-01-31T09:00 (UTC), or 3h: for three hours.")],
    actor: options.ActorOption = None,
) -> None:
    """Let the messages of a rule, or of all, wait until a time; what is over by then is not told of."""
    snoozing.snooze(open_store(), rule, until, by=options.acting_person(actor), now=utc_now())
    output.print_stdout(f"{rule}: snoozed until {output.time_text(until)}")


@alerts.command("unsnooze")
def unsnooze_command(rule: RuleArgument, *, actor: options.ActorOption = None) -> None:
    """End a snooze: what waits and still lasts is sent. Exit 1 where there is none."""
    if not snoozing.unsnooze(open_store(), rule, by=options.acting_person(actor), now=utc_now()):
        output.print_stderr(f"{rule} is not snoozed")
        raise typer.Exit(1)
    output.print_stdout(f"{rule}: no longer snoozed")


@alerts.command("rules")
def rules_command(*, as_json: options.JsonFlag = False) -> None:
    """List the rules: what each tells of and when. Needs no database."""
    off = load_settings().alerts_off
    if as_json:
        output.print_json(
            [
                {"rule": name, "when": rule.when, "urgent": rule.urgent, "off": rule.name in off}
                | {"lasts_seconds": rule.lasts.total_seconds(), "clear_seconds": rule.clear.total_seconds()}
                for name, rule in RULES.items()
            ]
        )
        return
    rows = (
        (name, rule.when, wording.duration(rule.lasts), wording.duration(rule.clear),
         "off" if rule.name in off else "urgent" if rule.urgent else "")
        for name, rule in RULES.items()
    )  # fmt: skip
    output.print_table(("rule", "when", "sent after", "over after", ""), rows)
