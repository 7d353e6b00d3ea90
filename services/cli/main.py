"""The `leadline` command. Each command gives a value; `output` prints it; an error is one line."""

from __future__ import annotations

import sys

from services.cli.lazily import Entry, lazy_app
from shared.observability import silence_logs

CONFIG = {
    "apply": Entry("services.cli.configcommands:apply", "Bring the configuration to what FILE says."),
    "export": Entry("services.cli.configcommands:export", "Write the configuration to FILE."),
    "lint": Entry("services.cli.lint:lint_command", "Warn of what is allowed and hardly meant."),
}
LEAD = {"show": Entry("services.cli.looking:show_lead", "Tell one lead's whole story.")}
config_app = lazy_app("Configuration: one YAML file.", CONFIG)
lead_app = lazy_app("Leads.", LEAD)

COMMANDS = {
    "setup": Entry("services.cli.installing:setup", "Migrate the database and declare the queues; again is no harm."),
    "verify": Entry("services.cli.installing:verify", "Check database and queues; exit 1 if something is missing."),
    "config": Entry("services.cli.main:config_app", "Configuration: one YAML file."),
    "import": Entry("services.cli.importing:import_command", "Import a CRM's export, or a plain table."),
    "lead": Entry("services.cli.main:lead_app", "Leads."),
    "lot": Entry("services.cli.lots:lot_app", "Lots."),
    "assign": Entry(
        "services.cli.assigning:assign_command", "Assign leads that wait now, and tell why not the others."
    ),
    "explain": Entry("services.cli.decisions.commands:explain_command", "Say who got a lead and why."),
    "decisions": Entry("services.cli.decisions.commands:decisions_app", "Decisions."),
    "whatif": Entry("services.cli.decisions.commands:whatif_command", "Give past leads by another policy."),
    "fairness": Entry("services.cli.decisions.commands:fairness_command", "Received, against entitled."),
    "sheets": Entry("services.cli.sheets:app", "Sheets that agents fill in and send back."),
    "deadletters": Entry("services.cli.deadletters.commands:app", "Messages that could not be handled."),
    "stats": Entry("services.cli.looking:stats", "Count what has happened so far, and who is next."),
    "monitor": Entry("services.cli.monitor.command:monitor_command", "Show the same live, until Ctrl-C."),
    "doctor": Entry("services.cli.doctor.command:doctor_command", "Say what is wrong, where, and what to do."),
    "key": Entry("services.cli.keys:app", "Keys of the HTTP API."),
    "service": Entry("services.cli.serving:service", "Run one service until stopped."),
    "worker": Entry("services.cli.serving:worker", "Run all services until every queue is empty."),
    "simulate": Entry("services.simulator.command:simulate_command", "Send synthetic leads to the broker."),
    "schema": Entry("services.cli.schema:schema_command", "Give the contract on the wire."),
}
app = lazy_app("Distribute leads.", COMMANDS, name="leadline")


def main() -> None:
    """Run a command; whatever a person can mend is one line on standard error, and exit code 1 or 2."""
    silence_logs()
    try:
        app()
    except Exception as error:
        from services.cli.refusals import in_words  # noqa: PLC0415  # it imports all that can go wrong

        if (refusal := in_words(error)) is None:
            raise
        print(f"leadline: {refusal[0]}", file=sys.stderr)
        sys.exit(refusal[1])
