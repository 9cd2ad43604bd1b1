"""The hosts screen: several studios, those of the settings and the one that is shown, trouble first."""

from __future__ import annotations

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="hosts",
    order=9,
    title="Hosts",
    help="Hosts: which is in trouble, which has room; go to one",
    widget="HostsPlace",
    scopes={"hosts": "Hosts"},
    actions=(
        Action("hosts.open", "enter", "go there", "Show that host's studio; of a lost one: why", palette=False),
        Action("hosts.why", "w", "why", "Why it does not answer, or what is wrong there"),
        Action("hosts.retry", "r", "try again", "Ask it again now"),
        Action("hosts.new", "n", "add", "Add a host to the settings", writes=True),
        Action("hosts.edit", "e", "edit", "Edit its name, address and key", writes=True),
        Action("hosts.delete", "d,delete", "take off", "Take it out of the settings; nothing is stopped", writes=True),
        Action("hosts.copy", "y", "copy ssh", "Copy the command that leads there", palette=False),
    ),
)
