"""Programs of others that the bridge might stumble over: odd plug-ins, finders, command lines, closed outputs."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
import yaml
from basicsr.utils.registry import LOSS_REGISTRY

from metaf2n_arch.bridge import circle, decision, registration, startup, table, voice
from metaf2n_arch.config.plugins import load_plugins
from metaf2n_arch.utils.checks import OptionError

STOCK = {'name': 'x', 'model_type': 'SRModel', 'train': {'pixel_opt': {'type': 'L1Loss'}}}


@pytest.fixture
def kind(monkeypatch, tmp_path):
    """Whether a run with these options and this command line is one of ours."""
    monkeypatch.delenv(circle.SWITCH, raising=False)

    def kind(options, *arguments):
        (tmp_path / 'run.yml').write_text(yaml.safe_dump(options))
        return decision.kind_of_run(['-opt', str(tmp_path / 'run.yml'), *arguments])[0]

    return kind


@pytest.mark.parametrize(
    ('plugins', 'ours'),
    [(['my.py'], True), ('my.py', True), ([], False), (None, False), ({'ema': {}}, False), ([{'type': 'A'}], False)],
)
def test_a_key_plugins_that_means_something_else_is_not_for_us(kind, plugins, ours):
    assert kind({**STOCK, 'plugins': plugins}) is ours


@pytest.mark.parametrize(
    ('arguments', 'ours'),
    [
        (['--force_yml', 'train:pixel_opt:type=SSLLoss'], True),
        (['--force', 'train:pixel_opt:type=metaf2n/SSLLoss', '--auto'], True),
        (['--auto_resume', '--force_yml', 'train:pixel_opt:type=L1Loss'], False),
        (['--mine', '3', '--launcher', 'none'], False),
    ],
)
def test_the_command_line_is_read_as_the_host_reads_it(kind, arguments, ours):
    """Its parser takes options that are cut short, and a launcher of somebody's own may take further ones."""
    assert kind(STOCK, *arguments) is ours


def test_a_plug_in_that_reads_a_command_line_ends_nothing(tmp_path, monkeypatch, capsys):
    """As research code does at the top of its files; `argparse` then leaves by SystemExit."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'reads_arguments.py').write_text('import sys\nsys.exit(2)\n')
    with pytest.raises(OptionError, match=r'x\.yml: plugins\.0: reads_arguments cannot be imported \(SystemExit: 2\)'):
        load_plugins(['reads_arguments'], 'x.yml')
    entry = SimpleNamespace(name='mine', value='reads_arguments', module='reads_arguments')
    monkeypatch.setattr(registration.metadata, 'entry_points', lambda group: [entry])
    monkeypatch.setattr(voice, '_said', set())
    registration._load_plugins()
    assert capsys.readouterr().err.startswith('metaf2n_arch: the plug-in mine (reads_arguments) cannot be loaded')
    assert 'reads_arguments' not in registration.plugins


def test_finders_that_ask_all_others_do_not_ask_each_other_for_ever(monkeypatch):
    class Asking:
        def find_spec(self, name, path=None, target=None):
            others = [finder for finder in sys.meta_path if finder is not self]
            return next((spec for f in others if (spec := f.find_spec(name, path, target))), None)

    bridge = startup.BridgeFinder()
    monkeypatch.setattr(sys, 'meta_path', [bridge, Asking()])
    assert bridge.find_spec('basicsr.nothing') is None
    assert not bridge._searched


def test_a_line_is_said_or_not_but_nothing_breaks(monkeypatch):
    monkeypatch.setattr(voice, '_said', set())
    monkeypatch.delattr(sys, 'argv')
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, 'stderr', stream)
        voice.say(f'to {stream}')


def test_a_switch_or_a_repair_that_is_misspelt_is_told(monkeypatch):
    monkeypatch.setenv(circle.SWITCH, 'false')
    assert "METAF2N_BRIDGE is 'false', expected 0" in (circle.misspelt() or '')
    for value in ('0', '1', 'all', ''):
        monkeypatch.setenv(circle.SWITCH, value)
        assert circle.misspelt() is None
    monkeypatch.setenv(circle.SKIP, 'savin,validation')
    assert table.report().endswith("METAF2N_BRIDGE_SKIP: there is no repair 'savin'. Did you mean 'saving'?")


def test_a_loss_of_somebody_in_a_registry_of_their_own_is_theirs():
    """A second registry has none of our names, and refuses what is registered twice, as the host does."""
    mine = type(LOSS_REGISTRY)('mine')
    loss = type('SSLLoss', (), {})
    mine.register(loss)
    assert mine.get('SSLLoss') is loss
    with pytest.raises(AssertionError, match='already registered'):
        mine.register(loss)
    with pytest.raises(KeyError, match="No object named 'SSL' found in 'mine' registry"):
        mine.get('SSL')
