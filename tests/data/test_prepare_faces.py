"""Folders of photos become prepared sets: what is written, read back, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metaf2n_arch.data.prepare import faces as module
from metaf2n_arch.data.prepare.faces import FacesSummary, prepare_faces
from metaf2n_arch.faces.detector import DetectorOptions
from metaf2n_arch.faces.restorer import RestorerOptions
from metaf2n_arch.utils.checks import DataError

COUNTS = {'codeformer_four_faces': 4, 'codeformer_one_face': 1, 'gfpgan_two_faces': 2, 'realesrgan_no_face': 0}
IDENTITY = RestorerOptions(type='identity')


@pytest.fixture
def detector(data_dir: Path) -> DetectorOptions:
    path = data_dir / 'weights' / 'face_detection_yunet_2023mar.onnx'
    return DetectorOptions(type='yunet', weights=str(path))


@pytest.fixture
def photos(data_dir: Path, tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in COUNTS:
        [path] = (data_dir / 'photos').glob(f'{name}*')
        shutil.copyfile(path, folder / f'{name}{path.suffix}')
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_the_result_is_a_data_set_of_face_pairs(photos, tmp_path, detector):
    from metaf2n_arch.data.face_pair_dataset import FacePairDataset

    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, scale=2)
    assert (summary.images, summary.faces) == (4, 7)
    assert summary.without == ['realesrgan_no_face.png']
    assert summary.describe() == '4 images, 7 faces, 1 without a face'
    assert summary.remarks == ['without a face: realesrgan_no_face.png']
    dataset = FacePairDataset({'dataroot': str(tmp_path / 'set'), 'scale': 2, 'phase': 'test'})
    found = {Path(item['lq_path']).stem: len(item['face_lq']) for item in (dataset[i] for i in range(4))}
    assert found == COUNTS
    for lq, hq in zip(dataset[0]['face_lq'], dataset[0]['face_hq']):
        assert hq.shape == (3, 2 * lq.shape[1], 2 * lq.shape[2])


def test_the_listing_holds_boxes_and_landmarks_inside_the_photo(photos, tmp_path, detector):
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    listing = json.loads((tmp_path / 'set' / 'faces.json').read_text())
    faces = listing['images']['codeformer_four_faces.jpg']
    assert [face['file'] for face in faces] == [f'codeformer_four_faces_{i}.png' for i in range(4)]
    for face in faces:
        x0, y0, x1, y1 = face['box']
        assert 0 <= x0 < x1 <= 491
        assert 0 <= y0 < y1 <= 310
        assert all(x0 < x < x1 and y0 < y < y1 for x, y in face['landmarks'])
    assert listing['settings']['scale'] == 4


@pytest.mark.parametrize('clean', [True, False])
def test_a_run_broken_off_is_continued(photos, tmp_path, detector, monkeypatch, clean):
    def stop_before_third(items, total):
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        if not clean:
            # A killed process writes no listing: the journal alone is left.
            patch.setattr(module, '_write_listing', lambda *args: {})
        with pytest.raises(KeyboardInterrupt):
            prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, track=stop_before_third)
    if not clean:
        with (tmp_path / 'set' / '.faces.jsonl').open('a') as file:
            file.write('{"settings": {"sc')
    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    assert (summary.made, summary.before, summary.images) == (2, 2, 4)
    assert summary.describe() == '4 images, 7 faces, 1 without a face, 2 done before'
    prepare_faces(photos, tmp_path / 'whole', detector, IDENTITY)
    assert files(tmp_path / 'set') == files(tmp_path / 'whole')
    for name in files(tmp_path / 'whole'):
        assert (tmp_path / 'set' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def test_a_finished_set_is_left_alone_and_a_lost_face_is_made_again(photos, tmp_path, detector):
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    before = files(tmp_path / 'set')
    missing = RestorerOptions(type='gpen', weights=str(tmp_path / 'missing.pth'))
    with pytest.raises(DataError, match='other settings'):
        prepare_faces(photos, tmp_path / 'set', detector, missing)
    assert prepare_faces(photos, tmp_path / 'set', detector, IDENTITY).before == 4
    (tmp_path / 'set' / 'Face_HQ' / 'gfpgan_two_faces_1.png').unlink()
    assert prepare_faces(photos, tmp_path / 'set', detector, IDENTITY).before == 3
    assert files(tmp_path / 'set') == before


def test_a_photo_that_was_replaced_is_prepared_again(photos, tmp_path, detector):
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    (photos / 'realesrgan_no_face.png').write_bytes((photos / 'gfpgan_two_faces.jpg').read_bytes())
    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    assert (summary.made, summary.before, summary.faces, summary.without) == (1, 3, 9, [])
    assert (tmp_path / 'set' / 'Face_HQ' / 'realesrgan_no_face_1.png').is_file()


def test_a_set_of_the_first_version_is_gone_on_with(photos, tmp_path, detector):
    """It left the listing, and no journal."""
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    listing = (tmp_path / 'set' / 'faces.json').read_text()
    (tmp_path / 'set' / '.faces.jsonl').unlink()
    with pytest.raises(DataError, match='other settings'):
        prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, scale=2)
    assert prepare_faces(photos, tmp_path / 'set', detector, IDENTITY).before == 4
    assert (tmp_path / 'set' / 'faces.json').read_text() == listing


def test_weights_that_are_missing_end_the_run_before_anything_is_written(photos, tmp_path, detector):
    (photos / 'notes.txt').write_text('no photo')
    missing = RestorerOptions(type='gpen', weights=str(tmp_path / 'missing.pth'))
    with pytest.raises(DataError, match=r'missing\.pth'):
        prepare_faces(photos, tmp_path / 'set', detector, missing)
    assert not (tmp_path / 'set').exists()
    assert prepare_faces(photos, tmp_path / 'set', detector, missing, dry_run=True).made == 4
    assert not (tmp_path / 'set').exists()


def test_a_set_is_not_mixed_from_two_settings(photos, tmp_path, detector):
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, scale=4)
    with pytest.raises(DataError, match=r'other settings \(scale 4, now 2\)'):
        prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, scale=2)


def test_photos_that_are_in_place_already_are_not_copied(photos, tmp_path, detector):
    (tmp_path / 'set').mkdir()
    photos.rename(tmp_path / 'set' / 'LQ')
    assert prepare_faces(tmp_path / 'set' / 'LQ', tmp_path / 'set', detector, IDENTITY).faces == 7
    assert len(list((tmp_path / 'set' / 'LQ').iterdir())) == 4


def test_an_unreadable_image_is_named_and_the_others_are_done(photos, tmp_path, detector):
    (photos / 'broken.png').write_bytes(b'no image')
    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    assert (summary.images, summary.faces) == (4, 7)
    assert list(summary.skipped) == ['broken.png']
    assert 'cannot be read' in summary.skipped['broken.png']
    assert summary.describe().endswith('1 skipped')
    assert not (tmp_path / 'set' / 'LQ' / 'broken.png').exists()


def test_subfolders_are_kept(photos, tmp_path, detector):
    (photos / 'deep').mkdir()
    (photos / 'codeformer_one_face.jpg').rename(photos / 'deep' / 'codeformer_one_face.jpg')
    prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    assert (tmp_path / 'set' / 'Face_HQ' / 'deep' / 'codeformer_one_face_0.png').is_file()
    assert (tmp_path / 'set' / 'LQ' / 'deep' / 'codeformer_one_face.jpg').is_file()


def test_folders_that_cannot_be_prepared_are_refused_before_anything_is_written(photos, tmp_path, detector):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='no image'):
        prepare_faces(tmp_path / 'empty', tmp_path / 'set', detector, IDENTITY)
    with pytest.raises(DataError, match='is not a folder'):
        prepare_faces(tmp_path / 'missing', tmp_path / 'set', detector, IDENTITY)
    with pytest.raises(DataError, match='lies inside'):
        prepare_faces(photos, photos / 'set', detector, IDENTITY)
    assert not (tmp_path / 'set').exists()
    assert not (photos / 'set').exists()


def test_of_two_photos_of_one_name_the_second_is_listed_with_its_reason(photos, tmp_path, detector):
    shutil.copyfile(photos / 'realesrgan_no_face.png', photos / 'codeformer_one_face.png')
    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)
    assert (summary.images, summary.faces) == (4, 7)
    assert 'same place as codeformer_one_face.jpg' in summary.skipped['codeformer_one_face.png']
    assert 'codeformer_one_face.png\t' in (tmp_path / 'set' / '.faces.skipped.txt').read_text()
    assert not (tmp_path / 'set' / 'LQ' / 'codeformer_one_face.png').exists()


def test_where_no_photo_can_be_used_the_reasons_are_listed_all_the_same(tmp_path, detector):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'broken.png').write_bytes(b'no image')
    summary = prepare_faces(tmp_path / 'photos', tmp_path / 'set', detector, IDENTITY)
    assert summary.useless
    assert [file.name for file in (tmp_path / 'set').iterdir()] == ['.faces.skipped.txt']


def test_a_damaged_listing_is_named(photos, tmp_path, detector):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / 'faces.json').write_text('{')
    with pytest.raises(DataError, match=r'faces\.json cannot be read'):
        prepare_faces(photos, tmp_path / 'set', detector, IDENTITY)


def test_an_empty_summary_reads_as_one():
    assert FacesSummary().describe() == '0 images, 0 faces, 0 without a face'


def test_a_list_of_a_split_chooses_photos_and_what_is_skipped_is_listed(photos, tmp_path, detector):
    from metaf2n_arch.data.prepare.split import write_split

    write_split(photos, tmp_path / 'lists', val=2)
    (photos / 'broken.png').write_bytes(b'no image')
    with (tmp_path / 'lists' / 'val.txt').open('a') as file:
        file.write('broken.png\n')
    summary = prepare_faces(photos, tmp_path / 'set', detector, IDENTITY, listing=tmp_path / 'lists' / 'val.txt')
    assert summary.images == 2
    assert summary.listed == tmp_path / 'set' / '.faces.skipped.txt'
    assert summary.listed.read_text().startswith('broken.png\t')
    assert len(list((tmp_path / 'set' / 'LQ').iterdir())) == 2
