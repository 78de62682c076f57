"""A plugin is found by its exact name; another name is a 404 that repeats nothing foreign."""

from __future__ import annotations

import pytest

from coco.errors import PluginUnknown
from coco.plugins.port import PluginRegistry
from coco.plugins.resource import ResourcePlugin


def test_plugins_are_found_by_name():
    plugin = ResourcePlugin(None, release_policy="kbs")
    registry = PluginRegistry([plugin])
    assert registry.get("resource") is plugin
    assert registry.names == ("resource",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuchplugin", "Plugin nosuchplugin not found"),
        ("Resource", "The plugin not found"),
        ("", "The plugin not found"),
        ("<script>", "The plugin not found"),
        ("a" * 65, "The plugin not found"),
        ("resource\n", "The plugin not found"),
    ],
)
def test_an_unknown_plugin_is_unknown(name, message):
    with pytest.raises(PluginUnknown) as refusal:
        PluginRegistry([ResourcePlugin(None, release_policy="kbs")]).get(name)
    assert refusal.value.message == message
