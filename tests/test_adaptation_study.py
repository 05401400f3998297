"""The tables of the studies of adaptation are what their rows say, and their arms are options that exist."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).with_name('benchmarks')


@pytest.fixture(scope='module')
def study():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import adaptation_rows
        import adaptation_study
        import meta_training
        import meta_training_table
        import step_probe
    finally:
        sys.path.remove(str(BENCHMARKS))
    return {
        'rows': adaptation_rows, 'study': adaptation_study, 'training': meta_training, 'gain': meta_training_table,
        'probe': step_probe,
    }  # fmt: skip


@pytest.mark.parametrize('name', ['study', 'gain', 'probe'])
def test_a_table_is_what_its_rows_say(study, name):
    module = study[name]
    rows = module.read(module.ROWS)
    text = module.TABLE.read_text(encoding='utf-8')
    assert module.document(rows, module.setting_of(module.TABLE)) == text
    assert 'not written down' not in text


def test_arms_of_restore_are_options_that_it_takes(study):
    from metaf2n_arch.inference import RestoreOptions

    known = set(RestoreOptions.model_fields)
    for options in study['study'].ARMS.values():
        assert set(options) <= known
        RestoreOptions(**options)


def test_arms_of_training_are_modes_of_the_meta_gradient(study):
    from metaf2n_arch.meta.outer import MODES

    arms = study['training'].ARMS
    assert {arm.mode for arm in arms.values()} <= {None, *MODES}
    measured = {row.weights for row in study['rows'].read(study['gain'].ROWS)}
    assert measured <= {study['gain'].START, *arms}


def test_the_means_and_worst_cases_are_those_of_a_loop_over_the_file(study):
    """Computed from the CSV without the study's own functions."""
    import csv

    with open(study['study'].ROWS, encoding='utf-8', newline='') as stream:
        lines = list(csv.DictReader(stream))
    plain, fixed = {}, {}
    for line in lines:
        if line['shows'] == 'face' and line['step'] == 'none':
            case = line['photo'], line['family'], line['seed']
            (plain if line['color_fix'] == 'none' else fixed)[case] = float(line['psnr'])
    changes = np.array([fixed[case] - plain[case] for case in plain])
    text = study['study'].TABLE.read_text(encoding='utf-8')
    assert f'| {changes.mean():+.2f} ± {changes.std(ddof=1):.2f} | {changes.min():+.2f} |' in text
    assert len(changes) == 48


def test_what_the_documents_claim_holds_in_the_rows(study):
    """docs/adaptation.md: the colour fix harmed no photo here and no measure in the mean; the fixed step alone did."""
    rows, table = study['rows'].read(study['study'].ROWS), study['study']
    for shows in ('face', 'no face'):
        own = study['rows'].chosen(rows, shows=shows)
        fix = study['rows'].changes(table.of_arm(own, 'colour fix', 'none'), table.of_arm(own, 'plain', 'none'), 'psnr')
        assert fix.worst >= -0.02
        assert fix.mean >= {'face': 0.9, 'no face': 0.35}[shows]
        plain, fixed = (table.of_arm(own, arm, 'none') for arm in ('plain', 'colour fix'))
        assert study['rows'].changes(fixed, plain, 'ssim').mean > 0
        assert study['rows'].changes(fixed, plain, 'niqe').mean < 0.03
    for support in ('true face', 'erring face'):
        portraits = study['rows'].chosen(rows, shows='face')
        plain = table.of_arm(portraits, 'plain', support)
        assert study['rows'].changes(table.of_arm(portraits, 'fixed step', support), plain, 'psnr').worst < -1
        assert (
            study['rows'].changes(table.of_arm(portraits, 'fixed step, colour fix', support), plain, 'psnr').worst > 0
        )


@pytest.mark.parametrize(('support', 'worst'), [('true face', 0.0), ('erring face', -0.014)])
def test_the_guarded_step_on_top_of_the_colour_fix_gains_in_the_mean_and_loses_as_little_as_told(study, support, worst):
    rows, table = study['rows'].read(study['study'].ROWS), study['study']
    portraits = study['rows'].chosen(rows, shows='face')
    alone, auto = (table.of_arm(portraits, arm, support) for arm in ('colour fix', 'auto, colour fix'))
    found = study['rows'].changes(auto, alone, 'psnr')
    assert found.count == 48
    assert found.worst == pytest.approx(worst, abs=0.0005)
    assert found.mean > 0.015
    assert study['rows'].changes(auto, alone, 'ssim').mean > 0
    assert study['rows'].changes(auto, alone, 'niqe').mean < 0
