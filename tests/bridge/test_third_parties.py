"""Runs of ours with parts of somebody else: samplers, data sets, models and networks with ways of their own."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from basicsr.models.sr_model import SRModel
from photographs import Photographs
from small_training import train_in_two_processes
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from metaf2n_arch.bridge.host import train
from metaf2n_arch.run import resume
from metaf2n_arch.run.course import Course, course


@pytest.fixture
def base(tmp_path):
    from basicsr.models.base_model import BaseModel

    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    path = {folder: str(tmp_path / folder) for folder in ('models', 'training_states')}
    return BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'path': path})


class Shuffled(torch.utils.data.Sampler):
    """A sampler that knows no epoch."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(reversed(range(self.length)))

    def __len__(self):
        return self.length


class Mine(torch.utils.data.Dataset):
    size = 1

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor(index * self.size)


OPTIONS = {'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}


def test_a_sampler_without_epochs_shuffles_as_it_does_and_the_course_goes_on(monkeypatch):
    from basicsr.data import build_dataloader

    for name, value in vars(Course()).items():  # whatever trained before in this process
        monkeypatch.setattr(course, name, value)

    loader = build_dataloader(Mine(), OPTIONS, num_gpu=0, sampler=Shuffled(6), seed=3)
    assert torch.cat(list(loader)).tolist() == [5, 4, 3, 2, 1, 0]
    assert course.sampler is None
    course.begin_iteration()
    assert course.epoch == 0


def test_a_sampler_made_from_the_hosts_keeps_its_own_order():
    from basicsr.data import build_dataloader
    from basicsr.data.data_sampler import EnlargedSampler

    class Sorted(EnlargedSampler):
        def __iter__(self):
            return iter(range(len(self.dataset)))

    loader = build_dataloader(Mine(), OPTIONS, num_gpu=0, sampler=Sorted(Mine(), 1, 0), seed=3)
    assert torch.cat(list(loader)).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_is_set_on_a_loaders_data_set_counts_in_its_items():
    from basicsr.data import build_dataloader
    from basicsr.data.data_sampler import EnlargedSampler

    for workers in (0, 1):
        data = Mine()
        options = {**OPTIONS, 'num_worker_per_gpu': workers}
        loader = build_dataloader(data, options, num_gpu=0, sampler=EnlargedSampler(data, 1, 0), seed=3)
        assert loader.dataset is data
        loader.dataset.size = 10
        assert sorted(torch.cat(list(loader)).tolist()) == [0, 10, 20, 30, 40, 50]


def test_data_sets_of_others_may_be_filled_later_or_have_no_length(monkeypatch):
    from basicsr.data import build_dataset
    from basicsr.utils.registry import DATASET_REGISTRY

    class Stream(IterableDataset):
        def __init__(self, opt):
            self.opt = opt

        def __iter__(self):
            return iter(range(3))

    class Later(Mine):
        def __init__(self, opt):
            self.opt = opt

        def __len__(self):
            return 0

    for kind in (Stream, Later):
        monkeypatch.setitem(DATASET_REGISTRY._obj_map, kind.__name__, kind)
        assert type(build_dataset({'type': kind.__name__, 'name': 'n'})) is kind


def test_bytes_that_are_no_image_are_none_for_who_looks_for_it(original):
    from basicsr.utils import imfrombytes

    assert imfrombytes(b'not an image') is None
    assert original('basicsr.utils.img_util.imfrombytes').__name__ == 'imfrombytes'


def test_weights_that_do_not_fit_are_still_a_runtime_error(base, tmp_path):
    torch.save({'params': nn.Conv2d(1, 1, 1).state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(RuntimeError, match=r'a\.pth: these are not the weights'):
        base.load_network(nn.Conv2d(3, 4, 3), str(tmp_path / 'a.pth'))


class Counting(nn.Linear):
    """A network with a state beside its tensors."""

    seen = 0

    def get_extra_state(self):
        return {'seen': self.seen}

    def set_extra_state(self, state):
        self.seen = state['seen']


def test_the_extra_state_of_a_network_is_saved_and_loaded(base, tmp_path):
    net = Counting(2, 2)
    net.seen = 5
    base.save_network(net, 'net_g', 3)
    other = Counting(2, 2)
    base.load_network(other, str(tmp_path / 'models' / 'net_g_3.pth'))
    assert other.seen == 5
    assert torch.equal(other.weight, net.weight)


def test_best_values_of_numpy_are_read_back(base, tmp_path):
    base.optimizers, base.schedulers = [], []
    base.best_metric_results = {'val': {'psnr': {'better': 'higher', 'val': np.float64(30.5), 'iter': np.int64(4)}}}
    base.save_training_state(0, 4)
    state = resume.read_state(tmp_path / 'training_states' / '4.state')
    assert state['best_metrics'] == {'val': {'psnr': {'better': 'higher', 'val': 30.5, 'iter': 4}}}
    assert type(state['best_metrics']['val']['psnr']['val']) is float


def test_a_frozen_network_that_is_never_saved_does_not_stop_a_resume(base, tmp_path, capsys):
    base.optimizers, base.schedulers = [], []
    base.save_network(nn.Conv2d(1, 1, 1), 'net_g', 4)
    base.save_training_state(0, 4)
    path = {key: str(tmp_path / key) for key in ('models', 'training_states')}
    opt = {
        'root_path': str(tmp_path), 'auto_resume': True, 'network_g': {}, 'network_teacher': {},
        'path': {**path, 'resume_state': None},
    }  # fmt: skip
    assert train.load_resume_state(opt)['iter'] == 4
    assert opt['path']['pretrain_network_g'].endswith('net_g_4.pth')
    assert opt['path'].get('pretrain_network_teacher') is None
    assert 'This run does not save network_teacher' in capsys.readouterr().out


def stock_options(folder, **more):
    return {
        'name': 'run', 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 0, 'dist': False, 'is_train': False,
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 4},
        'path': {'visualization': str(folder / 'visualization'), 'results_root': str(folder)},
        'val': {'save_img': False, 'suffix': None, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}},
        **more,
    }  # fmt: skip


@pytest.fixture
def loader(astronaut_tensor):
    return DataLoader(Photographs(astronaut_tensor), batch_size=1)


def test_visuals_may_hold_lists_and_other_channels_and_options_no_rank(tmp_path, loader):
    class Curious(SRModel):
        def get_current_visuals(self):
            made = super().get_current_visuals()
            return {**made, 'flow': torch.zeros(1, 2, 8, 8), 'steps': [made['result']] * 3}

    model = Curious(stock_options(tmp_path))
    model.validation(loader, 'run', None)
    plain = SRModel(stock_options(tmp_path / 'plain'))
    plain.net_g.load_state_dict(model.net_g.state_dict())
    plain.validation(loader, 'run', None)
    assert model.metric_results == plain.metric_results


def test_a_program_without_a_folder_for_results_validates_all_the_same(tmp_path, loader):
    """As BasicSR's own suite does, whose options name no `experiments_root`."""
    options = stock_options(tmp_path)
    options['path'].clear()
    model = SRModel(options)
    model.nondist_validation(loader, 'run', None, False)
    assert model.metric_results['psnr'] > 0


def test_a_models_own_words_for_the_log_are_used(tmp_path, loader):
    class Wordy(SRModel):
        def _log_validation_metric_values(self, current_iter, dataset_name, tb_logger):
            self.said = dataset_name, dict(self.metric_results)

    model = Wordy(stock_options(tmp_path))
    model.validation(loader, 'run', None)
    assert model.said == (loader.dataset.opt['name'], model.metric_results)


OWN_LOOP = """
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY


@MODEL_REGISTRY.register()
class Flipping(SRModel):
    '''Like RealESRNet and HAT: a loop of its own round the stock one.'''

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img):
        self.flips = True
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        self.flips = False

    def feed_data(self, data):
        super().feed_data(data)
        if getattr(self, 'flips', False):
            self.lq = self.lq.flip(-1)
            self.gt = self.gt.flip(-1)
"""


def test_a_loop_of_its_own_validates_on_its_own_inputs_in_two_processes(tmp_path, tiny):
    """One process is the oracle of two; the stock loop, on images that are not flipped, gives other values."""
    from small_training import Training

    tiny.update(name='small', model_type='Flipping', plugins=['flipping.py'])
    tiny['logger']['use_tb_logger'] = False
    tiny['datasets']['train']['use_hflip'] = False
    values = []
    for folder, batch in (('two', 1), ('one', 2)):
        opt = copy.deepcopy(tiny)
        opt['datasets']['train']['batch_size_per_gpu'] = batch
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'flipping.py').write_text(OWN_LOOP)
        made = train_in_two_processes(tmp_path / folder, opt) if batch == 1 else [Training(tmp_path / folder, opt)]
        for training in made:
            training.finish()
        content = json.loads((made[0].experiment / 'metrics_val.json').read_text(encoding='utf-8'))
        values.append(content['mean']['result']['psnr'])
        assert len(content['images']['result']['psnr']) == 4
    assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_the_course_of_a_foreign_sampler_has_the_epoch_it_was_resumed_in():
    strange = Course(resumed=(3, 40))
    strange.begin(None, 2)
    assert strange.epoch == 3
