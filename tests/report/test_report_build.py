"""The report itself: every number in it is one that was computed or printed, and the page stands alone."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from report_helpers import make_run

from metaf2n_arch.images.writing import write_image
from metaf2n_arch.report.build import build_report
from metaf2n_arch.report.document import Document, Grid, Heading, Paragraph, Picture
from metaf2n_arch.report.panels import liveliest_window, on_square, picture_row, spread
from metaf2n_arch.report.published import FAMILIES
from metaf2n_arch.report.spectra import mean_spectrum
from metaf2n_arch.utils.checks import DataError


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp('report')
    runs = [make_run(root, 'first'), make_run(root, 'second', shift=1.25)]
    markdown, page = build_report(runs, root / 'out', panels=2, published=True)
    return markdown.read_text(encoding='utf-8'), page.read_text(encoding='utf-8'), root / 'out'


def cells(markdown: str) -> list[list[str]]:
    return [line.strip('| ').split(' | ') for line in markdown.splitlines() if line.startswith('| FFHQ_iid')]


def test_names_of_others_lead_nowhere_and_run_nothing(tmp_path):
    """A data set, an image and a metric called as an attacker would: nothing outside the folder, no raw HTML."""
    run = make_run(tmp_path, 'mine')
    secret = tmp_path / 'secret_mine.png'
    file = next((tmp_path / 'results' / 'mine').glob('metrics_*.json'))
    content = json.loads(file.read_text(encoding='utf-8'))
    content['dataset'] = '../../escaped\n# <script>alert(1)</script>[x](http://a.b)'
    variant = next(iter(content['mean']))
    content['mean'][variant]['<img src=x onerror=alert(2)>'] = 1.0
    for metrics in content['images'].values():
        for values in metrics.values():
            values[f'../../../../{secret.stem}\n'] = 1.0
    file.write_text(json.dumps(content), encoding='utf-8')
    before = set(tmp_path.rglob('*'))
    markdown, page = build_report([run], tmp_path / 'out', panels=3)
    assert {p for p in tmp_path.rglob('*') if (tmp_path / 'out') not in p.parents} - before == {tmp_path / 'out'}
    for text in (markdown.read_text(encoding='utf-8'), page.read_text(encoding='utf-8')):
        assert '<script>alert' not in text
        assert '<img src=x' not in text
        assert '&lt;script&gt;' in text
    assert not re.search(r'(?m)^# (?!Report)', markdown.read_text(encoding='utf-8')), 'no headline of theirs'
    assert '[x](http' not in markdown.read_text(encoding='utf-8').replace('\\]', '')


def test_every_row_says_whether_it_is_published_or_measured(report):
    rows = cells(report[0])
    assert ['FFHQ_iid', 'MetaF2N (Yin et al., ICCV 2023)', '26.30', '0.279', '44.51', '3.94', 'published'] in rows
    assert ['FFHQ_iid', 'first, adapted', '24.00', '-', '-', '-', 'measured here'] in rows
    assert ['FFHQ_iid', 'second, not adapted', '24.75', '-', '-', '-', 'measured here'] in rows
    assert len(rows) == 3 + 4
    assert {row[-1] for row in rows} == {'published', 'measured here'}


def test_sets_that_were_not_measured_are_not_shown(report):
    assert 'CelebA_iid' not in report[0]
    assert 'Urban100' not in report[0]


def test_times_and_losses_are_those_of_the_log(report):
    assert '| 100 | 25.0 | 0.6000 | 0.5000 | 1.2500 |' in report[0]
    assert '| 200 | 25.0 | 0.4000 | 0.2500 | 1.2500 |' in report[0]


def test_the_page_needs_no_other_file_and_holds_the_figures(report):
    markdown, page, out = report
    assert not re.search(r'(src|href)="(?!data:)', page)
    embedded = {base64.b64decode(data) for data in re.findall(r'base64,([^"]+)"', page)}
    named = re.findall(r'\]\((figures/[^)]+)\)', markdown)
    assert sorted(named) == [
        'figures/FFHQ_iid_pictures.png', 'figures/FFHQ_iid_spectra.png', 'figures/first_losses.png',
        'figures/second_losses.png',
    ]  # fmt: skip
    assert embedded == {(out / name).read_bytes() for name in named}


def test_a_report_without_published_values_and_pictures(tmp_path):
    markdown, _ = build_report([make_run(tmp_path, 'mine')], tmp_path / 'out', panels=0, published=False)
    text = markdown.read_text(encoding='utf-8')
    assert 'published' not in text
    assert 'Pictures' not in text
    assert '24.00' in text


def test_a_set_of_ones_own_has_its_own_table(tmp_path):
    markdown, _ = build_report([make_run(tmp_path, 'mine', dataset='Holiday')], tmp_path / 'out', panels=0)
    assert '| Holiday | mine, adapted | 24.00 | measured here |' in markdown.read_text(encoding='utf-8')


def test_published_values_stand_beside_a_set_of_their_size_alone(tmp_path):
    """Two images called Set14 are not Set14; ``published=True`` takes the name's word for it."""
    run = make_run(tmp_path, 'mine', dataset='Set14')
    text = build_report([run], tmp_path / 'out', panels=0)[0].read_text(encoding='utf-8')
    assert '153.30' not in text
    assert 'Published values of Set14 are left out' in text
    file = tmp_path / 'results' / 'mine' / 'metrics_Set14.json'
    content = json.loads(file.read_text())
    content['images']['result']['psnr'] = {f'{i}': 24.0 for i in range(14)}
    content['images'] = {'result': {'psnr': content['images']['result']['psnr']}}
    file.write_text(json.dumps(content))
    assert '153.30' in build_report([run], tmp_path / 'out', panels=0)[0].read_text(encoding='utf-8')


def test_runs_without_pictures_do_not_hide_those_of_others(tmp_path):
    import shutil

    runs = [make_run(tmp_path, 'first'), make_run(tmp_path, 'second')]
    shutil.rmtree(tmp_path / 'results' / 'second' / 'visualization')
    text = build_report(runs, tmp_path / 'out', panels=2)[0].read_text(encoding='utf-8')
    assert 'FFHQ_iid_pictures.png' in text
    assert 'FFHQ_iid_spectra.png' in text


def test_one_experiment_is_not_given_twice(tmp_path):
    run = make_run(tmp_path, 'mine')
    with pytest.raises(DataError, match='given twice'):
        build_report([run, run], tmp_path / 'out')


def test_published_rows_have_a_value_per_column_and_print_as_numbers():
    for family in FAMILIES:
        for models in family.rows.values():
            for values in models.values():
                assert len(values) == len(family.metrics)
                assert all(value == '' or float(value) > 0 for value in values)


def test_blocks_are_escaped_for_where_they_stand(tmp_path):
    write_image(tmp_path / 'p q.png', np.zeros((4, 4, 3), np.uint8))
    document = Document('a & b')
    document.add(Heading('<h>', 3), Paragraph('1 < 2'), Grid(['x|y'], [['-1.5'], ['<b>']], frozenset({1})))
    document.add(Picture(tmp_path / 'p q.png', 'a "picture"'))
    page, markdown = document.html(), document.markdown(tmp_path)
    for text in ('a &amp; b', '&lt;h&gt;', '1 &lt; 2', '<td class=n>-1.5</td>', '<tr class=ours><td>&lt;b&gt;</td>'):
        assert text in page
    assert '| x\\|y |' in markdown
    assert '![a "picture"](p%20q.png)' in markdown, 'Markdown ends an address at a space'


def test_the_window_shown_is_where_most_happens(astronaut):
    image = np.full((200, 300, 3), 128, np.uint8)
    image[100:164, 200:264] = astronaut[200:264, 200:264]
    y, x = liveliest_window(image, 64, 4)
    assert abs(y - 100) <= 32
    assert abs(x - 200) <= 32
    assert y % 4 == x % 4 == 0


def test_panels_show_the_same_part_of_every_image(tmp_path, astronaut):
    gt = np.ascontiguousarray(astronaut[:300, :400])
    write_image(tmp_path / 'gt.png', gt)
    write_image(tmp_path / 'lq.png', np.ascontiguousarray(gt[::4, ::4]))
    row = picture_row(tmp_path / 'lq.png', {'A': (tmp_path / 'gt.png', 'psnr')}, tmp_path / 'gt.png', 4, window=96)
    assert [panel.title for panel in row] == ['GT, whole', 'LQ', 'A', 'GT']
    np.testing.assert_array_equal(row[2].image, row[3].image)
    np.testing.assert_array_equal(row[1].image[::4, ::4], row[3].image[::4, ::4])
    assert row[3].image.shape == (96, 96, 3)
    assert row[0].image.shape[0] == row[0].image.shape[1]


def test_images_are_spread_over_the_set_and_shrunk_to_a_square():
    names = [f'{i:02d}' for i in range(50)]
    assert spread(names, 3) == ['00', '24', '49']
    assert spread(names[:2], 3) == ['00', '01']
    assert spread(names, 1) == ['00']
    assert on_square(np.zeros((100, 1000, 3), np.uint8)).shape == (640, 640, 3)


def test_a_wave_is_a_peak_of_the_mean_spectrum_at_its_frequency(tmp_path):
    x = np.arange(128)
    for i, periods in enumerate((16, 16, 40)):
        wave = 128 + 80 * np.cos(2 * np.pi * periods * x / 128 + i)
        image = np.broadcast_to(wave[None, :, None], (128, 128, 3))
        write_image(tmp_path / f'{i}.png', np.ascontiguousarray(image.round().astype(np.uint8)))
    one = mean_spectrum([tmp_path / '0.png', tmp_path / '1.png'])
    assert 1 + one[1:].argmax() == 16
    assert 1 + mean_spectrum([tmp_path / '2.png'])[1:].argmax() == 40
    write_image(tmp_path / 'small.png', np.zeros((20, 20, 3), np.uint8))
    assert mean_spectrum([tmp_path / 'small.png']) is None


def test_confidence_maps_are_mask_nets_own(tmp_path, astronaut):
    import torch

    from metaf2n_arch.archs.mask_net_arch import MaskNet
    from metaf2n_arch.images.arrays import to_tensor
    from metaf2n_arch.report.confidence import confidence_rows, heat
    from metaf2n_arch.report.runs import read_run

    run = read_run(make_run(tmp_path, 'mine'))
    assert confidence_rows(run, 'FFHQ_iid', 2) == []  # neither weights nor faces
    hq = np.ascontiguousarray(astronaut[40:168, 160:288])
    for folder, face in (('Face_HQ', hq), ('Face_LQ', np.ascontiguousarray(hq[::4, ::4]))):
        (tmp_path / 'datasets' / folder).mkdir()
        write_image(tmp_path / 'datasets' / folder / 'img_1_0.png', face)
    net = MaskNet(num_feat=4, num_conv=3, bias_last=1.0)
    (tmp_path / 'experiments' / 'mine' / 'models').mkdir()
    torch.save({'params': net.state_dict()}, tmp_path / 'experiments' / 'mine' / 'models' / 'net_m_latest.pth')
    run.options['network_m'] = {'type': 'MaskNet', 'num_feat': '4', 'num_conv': '3'}
    [row] = confidence_rows(run, 'FFHQ_iid', 2)
    expected = net(to_tensor(hq[::4, ::4])[None], to_tensor(hq)[None])[0, 0].detach().numpy()
    np.testing.assert_array_equal(row[2].image, heat(expected))
    assert row[2].caption.startswith(f'mean {expected.mean():.3f}')
