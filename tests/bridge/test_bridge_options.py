"""Option files and the command line: nothing executes, numbers are numbers, and each mistake is one clear line."""

from __future__ import annotations

import itertools
import math
import sys
import time
from pathlib import Path

import pytest
import yaml

from metaf2n_arch.bridge.host.options import parse_options
from metaf2n_arch.config.text import find_option_file, force_option, parse_yaml, read_option_file
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.resources import option_file, option_files


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Calls `parse_options` with a command line, in `tmp_path`."""
    import basicsr

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)

    def parse(*arguments: str, is_train: bool = True):
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'tiny.yml', *arguments])
        return parse_options(str(Path(basicsr.__file__).parents[1]), is_train=is_train)

    return parse


def test_a_run_of_basicsr_alone_is_told_of_options_that_only_our_models_read(parse, capfd, tmp_path, monkeypatch):
    monkeypatch.delenv('METAF2N_BRIDGE')
    opt = {
        'name': 'x', 'model_type': 'ESRGANModel', 'num_gpu': 0, 'datasets': {}, 'path': {},
        'train': {'ema_decay': 0.9, 'accumulate': 4}, 'logger': {},
    }  # fmt: skip
    (tmp_path / 'tiny.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    assert parse()[0]['train'] == opt['train'], 'nothing is refused or changed'
    said = [line for line in capfd.readouterr().err.splitlines() if 'metaf2n' in line]
    assert len(said) == 1
    assert "tiny.yml: train.accumulate: BasicSR's ESRGANModel ignores it; use GANSRModel" in said[0]


def test_numbers_are_numbers():
    values = {
        '1e-4': 1e-4,
        '1E5': 1e5,
        '-2.5e+3': -2500.0,
        '.5': 0.5,
        '1.': 1.0,
        '3': 3,
        '0.9': 0.9,
        '-.inf': -math.inf,
    }
    for text, value in values.items():
        assert parse_yaml(text, 'x') == value, text
        assert type(parse_yaml(text, 'x')) is type(value), text
    for text in ('1e', 'e4', '1.2.3', '~/data', 'x4', '1-4', '2023-x'):
        assert parse_yaml(text, 'x') == text
    assert parse_yaml('!!float 1e-4', 'x') == 1e-4, 'the spelling of existing option files'


def test_anchors_that_multiply_are_one_line_at_once():
    """350 bytes: nine levels, each nine times the one before; in lists, in mappings and by merging."""
    levels = 'abcdefghij'
    lists = 'a: &a [0,0,0,0,0,0,0,0,0]\n' + ''.join(
        f'{name}: &{name} [{",".join([f"*{before}"] * 9)}]\n' for before, name in itertools.pairwise(levels)
    )
    mappings = 'a: &a {x: 0}\n' + ''.join(
        f'{name}: &{name} {{{", ".join(f"k{i}: *{before}" for i in range(9))}}}\n'
        for before, name in itertools.pairwise(levels)
    )
    merges = 'a: &a {x: 0}\n' + ''.join(
        f'{name}: &{name} {{<<: [{", ".join([f"*{before}"] * 9)}]}}\n' for before, name in itertools.pairwise(levels)
    )
    for text in (lists, mappings, merges):
        began = time.monotonic()
        with pytest.raises(
            OptionError, match=r'^x\.yml:\d+:\d+: anchors and aliases make more than 100000 values'
        ) as error:
            parse_yaml(text, 'x.yml')
        assert '\n' not in str(error.value)
        assert time.monotonic() - began < 1
    with pytest.raises(OptionError, match='an anchor contains itself'):
        parse_yaml('a: &a [*a]', 'x.yml')
    assert parse_yaml('a: &a [1, 2]\nb: [*a, *a]', 'x.yml') == {'a': [1, 2], 'b': [[1, 2], [1, 2]]}


def test_the_host_reads_1e_4_as_text_and_executes_tags(tmp_path, original):
    """The behaviour that is repaired, shown on the loader the host would use."""
    loader = original('basicsr.utils.options.ordered_yaml')()[0]
    assert yaml.load('1e-4', Loader=loader) == '1e-4'
    yaml.load(f'!!python/object/apply:os.mkdir ["{tmp_path}/executed"]', Loader=loader)
    assert (tmp_path / 'executed').is_dir()
    assert original('basicsr.utils.options._postprocess_yml_value')('[__import__("math").pi]') == [math.pi]


def test_tags_are_refused_wherever_the_host_reads_yaml(tmp_path):
    from basicsr.utils import options

    text = f'a: !!python/object/apply:os.mkdir ["{tmp_path}/executed"]'
    with pytest.raises(OptionError, match=r'^x\.yml:1:4: the tag !!python/object/apply:os\.mkdir is refused'):
        parse_yaml(text, 'x.yml')
    with pytest.raises(yaml.YAMLError):
        yaml.load(text, Loader=options.ordered_yaml()[0])
    with pytest.raises(OptionError):
        options._postprocess_yml_value(text)
    assert not (tmp_path / 'executed').exists()


def test_aliases_are_copies_because_the_host_pops_keys():
    content = parse_yaml('a: &x {type: Adam, merged: 1}\nb: *x\nc: {<<: *x, merged: 2}', 'x')
    content['a'].pop('type')
    assert content['b'] == {'type': 'Adam', 'merged': 1}
    assert content['c'] == {'type': 'Adam', 'merged': 2}


def test_files_that_are_no_option_files_are_one_line(tmp_path):
    for name, (content, message) in {
        'empty.yml': (b'', 'the option file is empty'),
        'comment.yml': (b'# nothing\n', 'the option file is empty'),
        'list.yml': (b'- 1\n', 'contains a list, expected a mapping'),
        'open.yml': (b'a: [1\nb: 2\n', r'open\.yml:2:2: '),
        'tab.yml': (b'a:\n\tb: 1\n', r'tab\.yml:2:1: '),
        'twice.yml': (b'a: 1\nb: 2\na: 3\n', r"twice\.yml:3:1: the key 'a' is given twice"),
        'latin.yml': ('a: "é"'.encode('latin-1'), 'not UTF-8 at byte 4'),
        'endless.yml': (b'a: &a [*a]\n', r'endless\.yml:1:'),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OptionError, match=message) as caught:
            read_option_file(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert '\n' not in str(caught.value)


def test_forced_values_are_yaml_and_reach_into_lists():
    options = {'a': {'b': 1, 'c': None}, 'losses': [{'w': 1.0}], 4: 'four'}
    for entry in ('a:b=1e-4', 'a:c=[1, ~, true]', 'losses:0:w=0.5', '4=x=y'):
        force_option(options, entry)
    assert options == {'a': {'b': 1e-4, 'c': [1, None, True]}, 'losses': [{'w': 0.5}], 4: 'x=y'}


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('a:bb=1', r"--force_yml a:bb: unknown key\. Did you mean 'b'\?|Known keys: b, c"),
        ('loses:0:w=1', r"--force_yml loses: unknown key\. Did you mean 'losses'\?"),
        ('losses:1:w=1', 'expected an index of the list, from 0 to 0'),
        ('a:b:c=1', '1 has no keys'),
        ('a:b', 'expected key=value'),
        ('a:b=!!python/name:os.system', 'is refused'),
        ('a"]=1;x["=2', 'unknown key'),
    ],
)
def test_wrong_forced_values_name_the_key(entry, message):
    with pytest.raises(OptionError, match=message):
        force_option({'a': {'b': 1, 'c': None}, 'losses': [{'w': 1.0}]}, entry)


def test_parsed_options_are_the_hosts_with_our_paths(parse, tiny, write_options, tmp_path):
    tiny['datasets']['train']['dataroot_lq'] = str(tmp_path / 'pairs' / 'lq')
    write_options(tiny)
    opt, args = parse('--auto_resume', '--local-rank', '0', '--force_yml', 'train:optim_g:lr=1e-5', 'manual_seed=9')
    assert opt['train']['optim_g'] == {'type': 'AdamW', 'lr': 1e-5}
    assert (opt['manual_seed'], opt['rank'], opt['world_size'], opt['dist']) == (9, 0, 1, False)
    assert opt['path']['models'] == str(tmp_path / 'experiments' / 'tiny' / 'models')
    assert opt['datasets']['train']['phase'] == 'train'
    assert opt['datasets']['val']['scale'] == 4
    assert (opt['auto_resume'], opt['is_train'], args.local_rank, args.opt) == (True, True, 0, 'tiny.yml')
    assert parse('--debug')[0]['name'] == 'debug_tiny'
    assert parse('--debug')[0]['logger']['save_checkpoint_freq'] == 8
    test, _ = parse(is_train=False)
    assert test['path']['results_root'] == str(tmp_path / 'results' / 'tiny')
    tiny['path'].update(experiments_root='/elsewhere', results_root='here')
    write_options(tiny)
    assert parse()[0]['path']['models'] == '/elsewhere/tiny/models'
    assert parse(is_train=False)[0]['path']['log'] == str(tmp_path / 'here' / 'tiny')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['pairs', 'tiny.yml'], 'parsing writes nothing'


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'num_gpu': 'one'}, OptionError, "num_gpu is 'one', expected 'auto' or a number"),
        ({'name': 5}, OptionError, 'name is 5, expected the name of a folder'),
        ({'name': 'a/b'}, OptionError, "name is 'a/b'"),
        ({'manual_seed': 1.5}, OptionError, r'manual_seed is 1\.5'),
        ({'model_type': 'SRModl'}, OptionError, r"SRModl.* Did you mean 'SRModel'\?"),
        ({'network_g': {'type': 'MSRResNt'}}, OptionError, r"network_g\.type: there is no network 'MSRResNt'"),
        ({'datasets': {}}, OptionError, r'datasets\.train is missing|datasets\.train'),
        ({'scale': 5}, OptionError, r'datasets\.train\.gt_size is 32, expected a multiple of the scale 5'),
        ({'logger': None}, OptionError, 'logger is missing'),
        ({'val': {'val_freq': 5}}, OptionError, r'val\.save_img is missing'),
        ({'path': {'pretrain_network_g': 'no.pth'}}, DataError, r'path\.pretrain_network_g: .*no\.pth: no such file'),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_built(
    parse, tiny, write_options, tmp_path, change, error, message
):
    write_options({**tiny, **change})
    with pytest.raises(error, match=message) as caught:
        parse()
    assert str(caught.value).startswith('tiny.yml: ')
    assert '\n' not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['pairs', 'tiny.yml']


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'prefetch_mode': 'gpu'}, r"prefetch_mode is 'gpu', expected null, 'cpu' or 'cuda'"),
        ({'prefetch_mode': 'cuda', 'pin_memory': True}, r"prefetch_mode is 'cuda', but num_gpu is 0"),
    ],
)
def test_prefetching_that_cannot_work_is_one_line(parse, tiny, write_options, block, message):
    tiny['datasets']['train'].update(block)
    write_options(tiny)
    with pytest.raises(OptionError, match=message):
        parse()


def test_missing_and_empty_folders_are_named(parse, tiny, write_options, tmp_path):
    (tmp_path / 'hollow').mkdir()
    for folder, message in (('absent', 'does not exist'), ('hollow', 'is empty')):
        tiny['datasets']['val']['dataroot_gt'] = folder
        write_options(tiny)
        with pytest.raises(DataError, match=rf'^tiny\.yml: datasets\.val\.dataroot_gt: .*{folder} {message}'):
            parse()


def test_an_option_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert option_files(), 'option files are shipped'
    name = option_files()[0]
    assert find_option_file(f'options/{name}') == option_file(name) == option_file(name.removesuffix('.yml'))
    (tmp_path / 'options').mkdir()
    (tmp_path / 'options' / name).write_text('a: 1')
    assert find_option_file(f'options/{name}') == Path('options') / name, 'a file that is here comes first'
    with pytest.raises(OptionError, match=rf"no such option file in {tmp_path}\. Did you mean '{name}'\?"):
        find_option_file(f'options/x{name}')
    with pytest.raises(OptionError, match='no such shipped option file'):
        option_file('nothing')
