"""Resuming with other options: what has changed, and which value holds."""

from __future__ import annotations

import copy

from metaf2n_arch.run.made_with import changes, describe

OPT = {
    'name': 'a',
    'model_type': 'GANSRModel',
    'scale': 4,
    'manual_seed': 3,
    'world_size': 1,
    'network_g': {'type': 'MSRResNet', 'num_feat': 8},
    'datasets': {'train': {'gt_size': 32, 'batch_size_per_gpu': 2}, 'val': {'dataroot': 'x'}},
    'train': {
        'total_iter': 10,
        'ema_decay': 0.5,
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'losses': [{'type': 'L1Loss', 'loss_weight': 1.0}],
    },
    'path': {},
}


def test_nothing_is_said_where_nothing_that_decides_has_changed():
    other = copy.deepcopy(OPT)
    other['name'], other['train']['total_iter'], other['datasets']['val']['dataroot'] = 'b', 20, 'y'
    other['train']['optim_g']['lr'] = 1e-4  # the state knows it, and run.schedules tells of it
    assert changes(describe(other), describe(OPT)) == []


def test_each_change_is_a_line_that_says_which_value_holds():
    other = copy.deepcopy(OPT)
    other['train']['losses'] = [{'type': 'MSELoss', 'loss_weight': 1.0}, {'type': 'L1Loss'}]
    other['manual_seed'] = 4
    other['datasets']['train'].update(gt_size=48, batch_size_per_gpu=1)
    other['train']['ema_decay'] = 0.9
    other['world_size'] = 2
    assert changes(describe(other), describe(OPT)) == [
        'manual_seed is 4 in the option file and 3 in the checkpoint: the order of the data follows the option file, '
        'the random generators continue from the checkpoint.',
        'world_size is 2 in this run and 1 in the checkpoint: the data continue where they were; '
        'each process has its own random numbers.',
        'train.ema_decay is 0.9 in the option file and 0.5 in the checkpoint: '
        'the average continues from the checkpoint, or starts at its weights if it has none.',
        "train.losses.0.type is 'MSELoss' in the option file and 'L1Loss' in the checkpoint: "
        'the option file is used from here on.',
        "train.losses.1.type is 'L1Loss' in the option file and not given in the checkpoint: "
        'the option file is used from here on.',
        'datasets.train.gt_size is 48 in the option file and 32 in the checkpoint: '
        'the option file is used from here on.',
        'datasets.train.batch_size_per_gpu is 1 in the option file and 2 in the checkpoint: '
        'the data continue where they were.',
    ]
