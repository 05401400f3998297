"""Who did not ask sees no difference: runs of stock models with the bridge against the host alone, and forks of it."""

from __future__ import annotations

import copy
import json
import os
import shutil

import pytest
import torch
import yaml
from strangers import LAUNCHER, files, run, without_us, write


@pytest.fixture
def stock(tiny):
    """A training of the host's own parts, with what only the host allows."""
    opt = copy.deepcopy(tiny)
    opt['train']['optim_g']['type'] = 'Adam'
    opt['datasets']['train']['num_worker_per_gpu'] = 1
    opt['logger']['use_tb_logger'] = False
    opt['val']['val_freq'] = 2
    return opt


def start(folder, opt, *arguments, imports='', text=None, **environment):
    write(folder, {'own.py': LAUNCHER.format(imports=imports), 'run.yml': text or yaml.safe_dump(opt)})
    return run(folder, 'own.py', '-opt', 'run.yml', *arguments, **environment)


def weights(folder, iteration=4, name='tiny'):
    content = torch.load(folder / 'experiments' / name / 'models' / f'net_g_{iteration}.pth', weights_only=True)
    return {(key, n): tensor for key, state in content.items() for n, tensor in state.items()}


def test_a_stock_run_ends_with_the_very_weights_and_files_it_has_without_us(tmp_path, stock):
    ours, theirs = tmp_path / 'with', tmp_path / 'without'
    done = start(ours, stock)
    assert done.returncode == 0, done.stderr
    assert start(theirs, stock, **without_us(tmp_path)).returncode == 0
    found, expected = weights(ours), weights(theirs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert files(ours / 'experiments') == files(theirs / 'experiments')
    state, known = (
        torch.load(f / 'experiments/tiny/training_states/4.state', weights_only=False) for f in (ours, theirs)
    )
    assert state.keys() == known.keys()
    assert 'metaf2n' not in done.stderr


def test_the_very_run_is_another_with_us(tmp_path, stock):
    """The test above could not fail if nothing of ours reached the run at all."""
    done = start(tmp_path, stock, METAF2N_BRIDGE='all')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'experiments' / 'tiny' / 'metrics_val.json').is_file()
    state = torch.load(tmp_path / 'experiments/tiny/training_states/4.state', weights_only=True)
    assert 'random' in state


@pytest.mark.parametrize(
    ('change', 'arguments'),
    [
        pytest.param('a key given twice', (), marks=pytest.mark.slow),
        pytest.param('a new key', ('--force_yml', 'train:new_key=3'), marks=pytest.mark.slow),
        pytest.param('a tag', (), marks=pytest.mark.slow),
        pytest.param('no such file', (), marks=pytest.mark.slow),
        pytest.param('unknown model', (), marks=pytest.mark.slow),
        pytest.param('unknown optimizer', (), marks=pytest.mark.slow),
        ('crash', ()),
    ],
)
def test_options_exceptions_and_exit_codes_are_those_of_the_host(tmp_path, stock, change, arguments):
    text, imports = None, ''
    if change == 'a key given twice':
        text = yaml.safe_dump(stock) + '\nname: second\n'
    elif change == 'a tag':
        text = yaml.safe_dump(stock) + '\nextra: !!python/tuple [1, 2]\n'
    elif change == 'no such file':
        arguments = ('-opt', 'nothing.yml')
    elif change == 'unknown model':
        stock['model_type'] = 'Nobody'
    elif change == 'unknown optimizer':
        stock['train']['optim_g']['type'] = 'Nobody'
    elif change == 'crash':
        imports = 'sys.excepthook = lambda *error: print("my hook", error[0].__name__)'
        stock['datasets']['train']['dataroot_gt'] = 'absent'
    ends = []
    for name, environment in (('with', {}), ('without', without_us(tmp_path))):
        done = start(tmp_path / name, stock, *arguments, imports=imports, text=text, **environment)
        last = (done.stderr.strip().splitlines() or [''])[-1].partition(':')[0]
        left = files(tmp_path / name)
        ends.append((done.returncode, last.partition(' INFO')[0][:0] if done.returncode == 0 else last, left))
        if change == 'crash':
            assert 'my hook' in done.stdout
    assert ends[0] == ends[1]


def test_weights_that_are_a_url_are_the_readers_affair(tmp_path):
    """Somebody's own loop on `parse_options` gets what the file says, whatever we would say of it."""
    program = (
        'import sys\nfrom basicsr.utils.options import parse_options\n'
        'opt, _ = parse_options("/root")\n'
        'print(opt["path"]["pretrain_network_g"], opt["datasets"]["train"]["gt_size"])\n'
    )
    opt = {
        'name': 'x', 'model_type': 'Mine', 'num_gpu': 0, 'path': {'pretrain_network_g': 's3://bucket/a.pth'},
        'datasets': {'train': {'type': 'Own', 'name': 'o', 'gt_size': -1}}, 'network_g': {'type': 'FromMyBuilder'},
        'logger': {},
    }  # fmt: skip
    write(tmp_path, {'own.py': program, 'run.yml': yaml.safe_dump(opt)})
    done = run(tmp_path, 'own.py', '-opt', 'run.yml')
    assert done.stdout.splitlines()[-1] == 's3://bucket/a.pth -1', done.stderr


OLD_LOGGER = 'class MessageLogger:\n    def __init__(self):\n        self.mine = True\n'


@pytest.mark.parametrize(
    'package',
    [
        {'__init__.py': "from basicsr.utils import *\n__version__ = '1.3.2'\n"},
        {'__init__.py': 'from .utils.logger import MessageLogger\n'},
    ],
)
def test_a_project_with_its_own_copy_of_the_host_is_left_alone(tmp_path, package):
    """Like CodeFormer, LDL, DAT, SAFMN: older, without what we would patch, with a runner of its own."""
    module = {
        **package,
        'utils/__init__.py': 'from .logger import MessageLogger\n',
        'utils/logger.py': OLD_LOGGER,
        'utils/options.py': 'def parse_options(root_path, is_train=True):\n    return {"mine": root_path}, None\n',
        'train.py': 'from basicsr.utils.options import parse_options\nprint(parse_options("/root")[0]["mine"])\n',
    }
    write(tmp_path / 'basicsr', module)
    write(tmp_path, {'inference.py': 'from basicsr.utils.logger import MessageLogger\nprint(MessageLogger().mine)\n'})
    for arguments, said in ((['inference.py'], 'True\n'), (['-m', 'basicsr.train'], '/root\n')):
        done = run(tmp_path, *arguments, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')]))
        assert (done.stdout, done.returncode, done.stderr) == (said, 0, '')


def test_a_copy_that_is_installed_as_an_older_version_is_left_alone_and_said(tmp_path):
    """What `python basicsr/setup.py develop` of a fork leaves: metadata of its own beside the package."""
    write(tmp_path / 'basicsr', {'__init__.py': "__version__ = '1.3.2'\n"})
    write(tmp_path / 'basicsr.egg-info', {'PKG-INFO': 'Metadata-Version: 2.1\nName: basicsr\nVersion: 1.3.2\n'})
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    done = run(tmp_path, '-m', 'metaf2n_arch.bridge', PYTHONPATH=path)
    assert 'leaves it alone' in done.stdout
    assert 'version 1.3.2' in done.stdout
    assert (done.returncode, done.stderr) == (0, '')


def test_a_folder_without_init_and_a_host_of_git_master_are_told_apart(tmp_path):
    """NAFNet's is the one; the other is installed as editable, under metadata that lies elsewhere."""
    from importlib.machinery import ModuleSpec
    from importlib.util import find_spec

    from metaf2n_arch.bridge.recognition import NEEDED, why_foreign

    assert why_foreign(ModuleSpec('basicsr', None)) == 'it is a folder without __init__.py'
    assert why_foreign(find_spec('basicsr')) is None
    write(tmp_path / 'clone' / 'basicsr', dict.fromkeys(('__init__.py', *NEEDED), ''))
    code = (
        'from importlib.util import find_spec; from metaf2n_arch.bridge.recognition import why_foreign;'
        'print(why_foreign(find_spec("basicsr")))'
    )
    url = {'url': (tmp_path / 'clone').as_uri(), 'dir_info': {'editable': True}}
    for version, said in (('1.4.2', 'None'), ('1.3.5', 'is version 1.3.5'), ('1.5.0', 'lacks train.py')):
        if version == '1.5.0':
            (tmp_path / 'clone' / 'basicsr' / 'train.py').unlink()
        info = {'METADATA': f'Name: basicsr\nVersion: {version}\n', 'direct_url.json': json.dumps(url)}
        write(tmp_path / 'metadata' / f'basicsr-{version}.dist-info', info)
        places = [tmp_path / 'clone', tmp_path / 'metadata', os.environ.get('PYTHONPATH', '')]
        done = run(tmp_path, '-c', code, PYTHONPATH=os.pathsep.join(map(str, places)))
        assert said in done.stdout, done.stderr
        shutil.rmtree(tmp_path / 'metadata')


NAMES = {
    'FFTLoss': 'losses.fft_loss',
    'LPIPSLoss': 'losses.lpips_loss',
    'FocalFrequencyLoss': 'losses.focal_frequency_loss',
    'calculate_lpips': 'metrics.lpips_metric',
    'calculate_dists': 'metrics.dists_metric',
    'GPEN': 'archs.gpen_arch',
    'SRResNet': 'archs.srresnet_arch',
}
REGISTERED_TWICE = f"""
from importlib import import_module
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

FOLDERS = {{'losses': LOSS_REGISTRY, 'metrics': METRIC_REGISTRY, 'archs': ARCH_REGISTRY}}
for turn, (name, module) in enumerate({NAMES}.items()):
    registry = FOLDERS[module.partition('.')[0]]
    theirs = type(name, (), {{}})
    if turn % 2:
        registry.register(theirs)
    ours = getattr(import_module('metaf2n_arch.' + module), name)
    if turn % 2 == 0:
        assert registry.get(name) is ours, name
        assert name in registry
        registry.register()(theirs)
    assert registry.get(name) is theirs, name
    assert registry.get('metaf2n/' + name) is ours, name
    try:
        registry.register(type(name, (), {{}}))
    except AssertionError:
        print('twice', name)
"""


@pytest.mark.parametrize('mode', ['with the bridge', 'without', 'over a fork'])
def test_names_yield_to_whoever_registers_them_before_or_after(tmp_path, mode):
    """The host still refuses a name that somebody else registers twice."""
    write(tmp_path, {'names.py': REGISTERED_TWICE})
    environment = {} if mode == 'with the bridge' else without_us(tmp_path)
    if mode == 'over a fork':
        environment.pop('METAF2N_BRIDGE')
        write(tmp_path / 'basicsr', FORK)
    done = run(tmp_path, 'names.py', **environment)
    assert done.stdout.split() == [word for name in NAMES for word in ('twice', name)], done.stderr


OLD = """
'''As in BasicSR 1.3.4: no suffixes.'''


class Registry:
    def __init__(self, name):
        self._name = name
        self._obj_map = {}

    def _do_register(self, name, obj):
        assert name not in self._obj_map, name
        self._obj_map[name] = obj

    def register(self, obj=None):
        if obj is None:
            return lambda part: self.register(part) or part
        self._do_register(obj.__name__, obj)

    def get(self, name):
        return self._obj_map[name]

    def __contains__(self, name):
        return name in self._obj_map


ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY = Registry('arch'), Registry('loss'), Registry('metric')
"""
FORK = {
    **dict.fromkeys(['__init__.py', 'utils/__init__.py', 'archs/__init__.py'], ''),
    'utils/registry.py': OLD,
    'archs/arch_util.py': 'ResidualBlockNoBN = default_init_weights = make_layer = None',
}


@pytest.mark.slow
def test_nothing_of_ours_can_keep_basicsr_from_being_imported(tmp_path):
    """Libraries that we need and the host does not are hidden; what cannot be offered then is one line."""
    hide = "import sys\nfor name in ('rich', 'pydantic', 'typer', 'safetensors'):\n    sys.modules[name] = None\n"
    program = (
        f'{hide}import basicsr\nfrom basicsr.utils.registry import LOSS_REGISTRY\nprint(LOSS_REGISTRY.get("L1Loss"))\n'
    )
    write(tmp_path, {'import.py': program})
    done = run(tmp_path, '-W', 'error', 'import.py', PYTHONWARNINGS='')
    plain = run(tmp_path, '-W', 'error', 'import.py', **without_us(tmp_path))
    assert done.returncode == plain.returncode, done.stderr
    if plain.returncode == 0:
        assert 'L1Loss' in done.stdout
    without = run(tmp_path, '-c', f'{hide}import basicsr')
    assert without.returncode == 0, without.stderr
    assert len(without.stderr.splitlines()) <= 2, without.stderr


@pytest.mark.slow
def test_a_host_that_is_there_already_is_repaired_with_its_copies(tmp_path):
    program = """
import os
os.environ['METAF2N_BRIDGE'] = '0'
import basicsr
from basicsr.utils.registry import MODEL_REGISTRY
assert 'MetaF2NModel' not in MODEL_REGISTRY
before = basicsr.models.sr_model.SRModel.nondist_validation
os.environ.pop('METAF2N_BRIDGE')
from metaf2n_arch.bridge import startup
startup.activate()
assert 'MetaF2NModel' in MODEL_REGISTRY
assert basicsr.train.parse_options is basicsr.utils.options.parse_options
assert basicsr.train.parse_options.__wrapped__
assert basicsr.utils.imfrombytes is basicsr.utils.img_util.imfrombytes
print('late')
"""
    write(tmp_path, {'late.py': program})
    environment = without_us(tmp_path)
    done = run(tmp_path, 'late.py', **environment)
    assert done.stdout.splitlines()[-1:] == ['late'], done.stderr


@pytest.mark.slow
def test_single_repairs_can_be_left_out_and_the_command_says_so(tmp_path):
    done = run(tmp_path, '-m', 'metaf2n_arch.bridge', METAF2N_BRIDGE_SKIP='saving, validation')
    assert done.returncode == 0, done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith('left out by METAF2N_BRIDGE_SKIP')]
    assert len(skipped) == 2, done.stdout
    assert 'This run does not use this package' in done.stdout
    assert 'METAF2N_BRIDGE=0' in done.stdout
    asked = run(tmp_path, '-m', 'metaf2n_arch.bridge', METAF2N_BRIDGE='all')
    assert 'This run uses this package: METAF2N_BRIDGE is all' in asked.stdout


def test_a_repair_that_fails_leaves_the_host_as_it_was(monkeypatch, capsys):
    from types import ModuleType

    from metaf2n_arch.bridge import patching, table

    module = ModuleType('basicsr.made_up')
    module.first = lambda: 1  # type: ignore[attr-defined]

    def half(host):
        patching.replace(host, 'first', lambda: 2)
        patching.replace_for_ours(host, 'second', lambda: 2)
        return True

    row = patching.Repair('half', 'basicsr.made_up', half, 'nothing')
    monkeypatch.setattr(table, 'REPAIRS', [row])
    table.repair(module)
    assert module.first() == 1
    assert row.applied is None
    assert row.trouble.startswith('failed (AttributeError')
    assert capsys.readouterr().err.count('\n') == 1
    assert 'basicsr.made_up.first' not in patching.ORIGINALS


@pytest.mark.slow
def test_a_crash_in_somebodys_own_loop_keeps_its_folders(tmp_path, stock):
    program = """
from basicsr.utils import make_exp_dirs
from basicsr.utils.options import parse_options
opt, _ = parse_options('.')
make_exp_dirs(opt)
open(opt['path']['log'] + '/train_mine.log', 'w').write('a week of work')
open('/proc/none/of/mine')
"""
    write(tmp_path, {'loop.py': program, 'run.yml': yaml.safe_dump(stock)})
    for environment in ({}, {'METAF2N_BRIDGE': 'all'}):
        done = run(tmp_path, 'loop.py', '-opt', 'run.yml', **environment)
        assert done.returncode == 1
        assert 'FileNotFoundError' in done.stderr.splitlines()[-1]
        assert (tmp_path / 'experiments' / 'tiny' / 'train_mine.log').is_file()


PLUGIN = """
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from metaf2n_arch.utils.options import Strict


class NetOptions(Strict):
    num_feat: int = 4


@ARCH_REGISTRY.register()
class MyNet(MSRResNet):
    options_schema = NetOptions

    def __init__(self, num_feat=4):
        super().__init__(3, 3, num_feat, 1)


@LOSS_REGISTRY.register()
class MyLoss(torch.nn.Module):
    def forward(self, x, y, **kwargs):
        return (x - y).abs().mean()


@DATASET_REGISTRY.register()
class MyPairs(PairedImageDataset):
    size = None

    def __getitem__(self, index):
        assert self.size == 7
        return super().__getitem__(index)


@MODEL_REGISTRY.register()
class MyModel(SRModel):
    pass
"""


def with_plugin(stock):
    stock.update(model_type='MyModel', plugins=['my_parts.py'], network_g={'type': 'MyNet', 'num_feat': 4})
    stock['train'].update(pixel_opt={'type': 'MyLoss'}, total_iter=2)
    for block in stock['datasets'].values():
        block['type'] = 'MyPairs'
    return stock


@pytest.mark.slow
def test_plugins_of_an_option_file_work_in_the_stock_runner_and_its_spawned_workers(tmp_path, stock):
    imports = (
        'import basicsr.train, torch.multiprocessing\n'
        'make = basicsr.train.create_train_val_dataloader\n'
        'def mine(opt, logger):\n'
        '    made = make(opt, logger)\n'
        '    for loader in [made[0], *made[2]]:\n'
        '        loader.dataset.size = 7\n'
        '        assert type(loader.dataset).__name__ == "MyPairs"\n'
        '    return made\n'
        'if __name__ == "__main__":\n'
        '    torch.multiprocessing.set_start_method("spawn")\n'
        'basicsr.train.create_train_val_dataloader = mine\n'
    )
    opt = with_plugin(stock)
    write(tmp_path, {'my_parts.py': PLUGIN})
    done = start(tmp_path, opt, imports=imports)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'experiments/tiny/models/net_g_latest.pth').is_file()


def test_plugins_of_an_option_file_are_checked_as_ours_are(tmp_path, stock):
    opt = with_plugin(stock)
    write(tmp_path, {'my_parts.py': PLUGIN})
    opt['network_g']['num_fest'] = 4
    done = start(tmp_path, opt)
    assert done.returncode == 2
    assert "network_g.num_fest: unknown key. Did you mean 'num_feat'?" in done.stderr.splitlines()[-1]
    opt['plugins'] = ['my_part.py']
    done = start(tmp_path, opt)
    assert 'plugins.0: there is no file my_part.py' in done.stderr.splitlines()[-1]


def test_plugins_of_an_installed_package_are_known(tmp_path):
    write(tmp_path, {'my_parts.py': PLUGIN})
    entry = '[metaf2n.plugins]\nmine = my_parts\nbroken = no_such_module\n'
    write(tmp_path / 'my_parts-1.dist-info', {'METADATA': 'Name: my-parts\nVersion: 1\n', 'entry_points.txt': entry})
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    code = (
        'from basicsr.utils.registry import ARCH_REGISTRY; import basicsr; print(ARCH_REGISTRY.get("MyNet").__module__)'
    )
    done = run(tmp_path, '-c', code, PYTHONPATH=path)
    assert done.stdout == 'my_parts\n', done.stderr
    assert 'the plug-in broken (no_such_module) cannot be loaded' in done.stderr
