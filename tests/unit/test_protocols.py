"""What faces may ask of a studio, and that they go no other way."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import vllm_studio_tui
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.protocols import StudioApi
from vllm_studio_tui.studio import Studio

ROOT = Path(vllm_studio_tui.__file__).parent
#: Packages of which a studio on another host can give nothing but values.
BEHIND = {"store", "inference", "probes", "models", "keeper", "simulation", "studio", "runs", "services"}
#: Values, and functions from values to values: what a face may import from there. An empty set: all of the module.
VALUES: Mapping[str, set[str]] = {
    "models.progress": set(),
    "runs.json_documents": set(),
    "runs.elsewhere": set(),
    "runs.estimate": set(),
    "runs.log_folding": set(),
    "runs.log_lines": set(),
    "runs.log_pieces": set(),
    "runs.log_text": set(),
    "runs.not_ready": set(),
    "runs.unhealthy": set(),
    "runs.find": {"pick_run"},
    "runs.gpu_words": set(),
    "runs.state_marks": set(),
    "runs.alert_line": {"worst_alert"},
    "runs.one_line": {"NEEDS", "OF_A_KIND", "Parts", "counts", "happened_at", "one_line"},
    "runs.read": {"RunView"},
    "services.alerts.subjects": {"SUBJECTS"},
    "services.chat.answer": set(),
    "services.chat.answers": set(),
    "services.chat.artifacts": set(),
    "services.chat.branches": set(),
    "services.chat.calls": set(),
    "services.chat.events": set(),
    "services.chat.event_documents": set(),
    "services.chat.going_on": set(),
    "services.chat.links": set(),
    "services.chat.request": {"title_of"},
    "services.launching.endpoint": set(),
    "services.launching.fix_offers": set(),
    "services.launching.past_runs": {"changes", "changes_document", "launch_document"},
    "services.launching.preflight": {"check_document"},
    "services.launching.run_story": {"view_of"},
    "services.launching.stage_times": set(),
    "services.chat_protocols": set(),
    "services.tool_protocols": set(),
    "services.tools.patterns": set(),
    "services.protocols": set(),
    "services.run_logs.run_log": {"open_log"},
    "services.recipes.changes": set(),
    "services.render.registry": {"KINDS"},
    "services.recipes.field_assignments": set(),
    "services.recipes.form": set(),
    "services.recipes.form_fields": set(),
    "services.recipes.recipes": {"Broken"},
    "services.recipes.sources": set(),
    "services.recipes.starting": {"default_engine", "engine_for"},
    "services.recipes.states": {"recipe_document"},
    "services.serving.key_text": set(),
    "services.watching.overview": set(),
    "services.watching.snapshot_feed": set(),
    "services.watching.snapshot": {"Snapshot"},
}
#: What a face does on its own machine, whichever studio it speaks to: the file, the modules, why.
LOCAL: Mapping[str, tuple[set[str], str]] = {
    "cli.bench": ({"services.bench.prompts"}, "reads the file of prompts, where the person is"),
    "cli.attach": ({"services.chat.attachments"}, "hands files to the chat that is open on this machine"),
    "cli.chat_input": ({"services.chat.attachments"}, "reads the files that a person names, where the person is"),
    "cli.demo": ({"studio", "runs", "services"}, "the demo runs on this machine, in a home of its own"),
    "cli.diagnose": (
        {"runs.diagnose", "runs.find", "services.diagnosis"}, "explains a log file of this machine"
    ),
    "cli.doctor": (
        {
            "probes.clipboard",
            "probes.terminal",
            "services.doctor.context",
            "services.doctor.copying",
            "services.doctor.doctor",
        },
        "checks this machine, and the terminal in front",
    ),
    "cli.exporter": ({"services.serving.exposition"}, "measures this machine"),
    "cli.exporter_server": ({"services.serving.discovery", "services.serving.exposition"}, "measures this machine"),
    "cli.gpu_commands": ({"probes.gpu.provider", "probes.gpu.client"}, "reads this machine, unless it is another's"),
    "cli.gpus": ({"probes.gpu.provider"}, "answered before a studio is imported; reads this machine"),
    "cli.importing": ({"services.original"}, "reads the databases that a person names, where the person is"),
    "cli.metrics": ({"runs.foreign"}, "tells an engine of somebody else from a run"),
    "cli.opening": ({"studio"}, "the one place that chooses the studio"),
    "cli.rank": (
        {"runs", "runs.attend", "services.handover.rank_start"}, "is a part of a model of several hosts, on its host"
    ),
    "cli.recipes": ({"services.serving.served_names"}, "compares recipes, whichever studio they are of"),
    "cli.render": ({"services.render.writing"}, "writes the files where the person is"),
    "cli.runs": ({"services.launching.boot_unit"}, "the unit of this machine's systemd"),
    "cli.serve": ({"services.serving.here"}, "has this machine's studio served"),
    "cli.status": (
        {"probes.gpu.provider", "runs.alert_line", "runs.host_line", "runs.one_line", "runs.read"},
        "`--json` and `--line` are answered before a studio is imported",
    ),
    "tui.flows.commands": ({"services"}, "fetches the demo's model to this machine"),
    "tui.flows.machine": (
        {"models.demo.model", "models.local"}, "looks at this machine"
    ),
    "tui.flows.starting": ({"services.recipes.starting"}, "asks a server that a person names"),
    "tui.sheets.doctor": ({"probes.terminal", "services.doctor.doctor"}, "checks this machine, and the terminal"),
    "tui.sheets.starting": ({"services.recipes.starting"}, "looks at the files that a person names"),
    **dict.fromkeys(
        ("tui.look.appearance", "tui.look.theming", "tui.terminal.notices"),
        ({"probes.terminal"}, "the terminal in front of the person"),
    ),
    "tui.start": ({"probes.gpu"}, "the rows that stand on this terminal until the screens are there"),
    "tui.terminal.late_answers": ({"probes", "probes.clipboard", "probes.terminal"}, "the same"),
    "tui.terminal.graphics": ({"probes", "services.chat.attachments"}, "pictures are drawn where the person is"),
    "tui.terminal.textual_patches": ({"probes.graphics"}, "the same"),
    "tui.terminal.clipboard": ({"probes.clipboard"}, "the clipboard of the person in front of the screen"),
    "tui.terminal.profile": ({"probes", "probes.terminal"}, "the same"),
    "tui.screens.dashboard.flows": ({"runs.foreign"}, "engines of others, as this machine's processes show them"),
    "tui.screens.monitor.place": ({"services.watching.panels"}, "panels are drawn here, from whichever snapshot"),
    "tui.screens.monitor.panel_rows": ({"services.watching.panels"}, "the same"),
    "tui.document.pictures": ({"services.chat.attachments"}, "pictures are drawn where the person is"),
    "tui.document.question": ({"services.chat.attachments"}, "words for what is shown"),
    "tui.flows.named_files": ({"services.chat.attachments"}, "reads the files that a person names"),
    "tui.screens.chat.chips": ({"services.chat.attachments"}, "the same"),
    "tui.screens.chat.prompting": ({"services.chat.attachments"}, "takes texts that are pasted here"),
    "tui.sheets.attachments": ({"services.chat.attachments"}, "words for what is shown"),
    "tui.screens.chat.opening": ({"services.chat.attachments", "services.chat.drafts"}, "what a person has here"),
    "tui.screens.chat.state": ({"services.chat.drafts"}, "the same"),
    "tui.screens.models.flows": ({"services.recipes.starting"}, "reads the name that a person types"),
    "tui.screens.models.knowledge": ({"models.local"}, "the room on this machine's disk, for a studio of this machine"),
    "tui.screens.recipes.flows": ({"services.serving.served_names"}, "compares recipes, whichever studio they are of"),
    "tui.screens.chat.importing": ({"models.path_completion"}, "completes the path of a file of this machine"),
    "tui.screens.recipes.path_list": ({"models.path_completion"}, "completes the path of a file of this machine"),
    "tui.screens.run.knowledge": ({"runs.last_lines"}, "follows the end of a log, through `open_log`"),
    "tui.screens.logs.export": ({"runs.log_window"}, "writes a log here, whichever machine it lies on"),
    "tui.screens.logs.facts": ({"runs.log_echoes", "runs.log_index", "runs.log_stages"}, "explains a log, as `RunLog`"),
    **dict.fromkeys(
        ("tui.screens.logs.place", "tui.screens.logs.source", "tui.screens.logs.stretch"),
        ({"runs.log_window"}, "shows a part of a log, as `RunLog` has it"),
    ),
    "tui.screens.logs.study": ({"runs.log_index", "runs.log_window"}, "the same"),
    "tui.screens.logs.view": ({"runs.log_index", "runs.log_window"}, "the same"),
}  # fmt: skip


def test_the_studio_of_this_machine_is_one(tmp_path: Path) -> None:
    one: StudioApi = Studio(Places.under(tmp_path))  # the type checker proves it
    assert one.places.runs.is_relative_to(tmp_path)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import from our package that is really made, wherever it stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            package, _, module = (node.module or "").partition(".")
            if package == "vllm_studio_tui" and module:
                yield from ((module, one.name) for one in node.names)


def test_a_face_reaches_services_through_its_studio_alone() -> None:
    reached: dict[str, set[str]] = {}
    for face in ("cli", "tui"):
        for path in sorted((ROOT / face).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for module, what in imports(path):
                if module.split(".")[0] not in BEHIND:
                    continue
                values = VALUES.get(module)
                if values is None or (values and what not in values):
                    reached.setdefault(name, set()).add(module)
    assert reached == {name: modules for name, (modules, _) in LOCAL.items()}
    assert not any(module.split(".")[0] == "store" for modules in reached.values() for module in modules)
