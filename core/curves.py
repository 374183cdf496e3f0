"""The ends of a curve: two runs whose networks and data it takes, and whose weights it joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.architectures import model_keys
from models.networks.curve import between
from models.registry import require_known
from models.types import shown

from .errors import UserError, about
from .flags import FLAGS, RECORDED_FLAGS
from .flags.earlier import shaping
from .members import Member, members_of
from .session import Session
from .workdir import Workdir, plain

NAME = 'curve'
"""Of the architecture."""
OF_TRAINING = ('weight_decay', 'opt', 'schedule', 'clip_norm')
"""Of a network's description, what its curve is not trained by."""


def joins_runs(given: Mapping[str, Any]) -> bool:
    """Whether flags, which may be any, are of a curve."""
    arch = given.get('arch')
    return (isinstance(arch, str) and arch == NAME) or given.get('ends') is not None


def with_ends(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a curve that is to be trained, with what its ends' records say of network and data, where the flags
    do not say it.

    Raises:
        UserError: there are no ends, they cannot be read, or they differ in what they are to have in common.
    """
    arch = given.get('arch')
    if not isinstance(arch, str) or arch != NAME:
        raise UserError("ends are those of a curve: arch='curve', as in exper-curve-digits")
    model = given.get('model') or {}
    if not isinstance(model, dict):
        return dict(given)  # merging says what is wrong with it
    with about('model'):
        require_known('a curve', model, model_keys(NAME), 'has no')
    if given.get('dataset') is not None and 'of' in model:  # resumed, or repeated: the record of the curve says all
        return dict(given)
    if given.get('ends') is None:
        raise UserError('a curve joins the weights of two runs; name them: --ends logs/A --ends logs/B')
    one, other = ends_of(given)
    _require_alike(one, other, given)
    # Which of the images are drawn hangs on the seed.
    drawn = any(one.flags[name] != FLAGS[name].default for name in ('train_fraction', 'label_noise'))
    found = {name: one.flags[name] for name in RECORDED_FLAGS if name not in ('arch', 'model', 'train_mode')}
    if drawn:
        found['seed'] = one.record['flags'].get('seed')
    own = {k: v for k, v in plain(one.flags['model']).items() if k not in OF_TRAINING}
    return {**found, **given, 'model': {'of': {'arch': one.flags['arch'], 'model': own}, **model}}


def ends_of(flags: Mapping[str, Any]) -> list[Member]:
    """What the flags ``ends`` and ``ends_eid`` name.

    Raises:
        UserError: something that is no run, or not archived.
    """
    logs, eids = (_checked(name, flags.get(name)) for name in ('ends', 'ends_eid'))
    found = []
    for log, eid in zip(logs, eids if isinstance(eids, list) else [eids, eids]):
        (end, *_), _ = members_of(log, eid)
        if end.flags['arch'] == NAME:
            raise UserError(f'{log} is a curve itself, which is no end of another; name a point of it: ./eval.sh '
                            f'eval-... {log} --set t=0.3 makes its directory')
        found.append(end)
    if found[0].digest == found[1].digest:
        raise UserError(f'the ends of a curve are two networks, but {found[0].run.path} (epoch {found[0].eid}) and '
                        f'{found[1].run.path} (epoch {found[1].eid}) are the same')
    return found


def _checked(name: str, value: Any) -> Any:
    flag = FLAGS[name]
    try:
        return flag.check(flag.default if value is None else value)
    except (TypeError, ValueError):
        raise UserError(f'{name} must be {flag.expects}, not {shown(value)}') from None


def _require_alike(one: Member, other: Member, given: Mapping[str, Any]) -> None:
    """Sees that two ends are of one architecture, and of one data set where the flags name none.

    Raises:
        UserError: they are not.
    """
    its, theirs = shaping(one.flags), shaping(other.flags)
    for name, value in its.items():
        if name != 'dataset' and theirs.get(name) != value:
            raise UserError(f'the ends of a curve must be of one architecture, but {name} of {one.run.path} is '
                            f'{shown(value)}, and of {other.run.path} {shown(theirs.get(name))}')
    if 'dataset' not in given and one.data != other.data:
        raise UserError(f"the ends of a curve must have one data set, but {one.run.path} was trained on "
                        f"{one.flags['dataset']}, and {other.run.path} on {other.flags['dataset']}; --set dataset=... "
                        'chooses one')
    names = [name for name in RECORDED_FLAGS if name not in ('arch', 'model', 'train_mode', 'dataset')]
    if one.flags['train_fraction'] < 1 or one.flags['label_noise'] > 0:
        names.append('seed')
    for name in names:
        a, b = (end.record['flags'].get(name, FLAGS[name].default) for end in (one, other))
        if name not in given and a != b:
            raise UserError(f'the ends of a curve must have the same images, but {name} of {one.run.path} is '
                            f'{shown(a)}, and of {other.run.path} {shown(b)}; --set {name}=... chooses one')


def put_ends(session: Session) -> dict[str, Any]:
    """Puts the ends' weights into the curve of a session, and bends between them.

    Returns:
        what flags.json says of them.

    Raises:
        UserError: weights that cannot be read, or of another network; a repeated curve's that are other ones now.
    """
    flags, model = session.flags, session.model
    ends = ends_of(flags)
    if flags['like'] is not None:
        _require_as_before(ends, flags['like'])
    weights = []
    for end in ends:
        with about(str(end.run.path)):
            own = session.new_model(end.flags)
            own.restore(end.run.find_model(end.eid))
        weights.append(own.weights())
    with about('ends'):
        now = model.weights()
        model.set_weights({**between(weights, now, flags['model'].get('start', 'straight')), 't': now['t']})
    registered = {kind: things for end in ends for kind, things in end.record.get('registered', {}).items()
                  if kind in ('network', 'data set')}
    return {'ends': [{'run': str(end.run.path), 'eid': end.eid, 'sha256': end.digest} for end in ends],
            **({'registered': registered} if registered else {})}


def _require_as_before(ends: Sequence[Member], like: str) -> None:
    before = Workdir(like).read_flags().get('ends', ())
    for end, was in zip(ends, before):
        if was['run'] == str(end.run.path) and was['sha256'] != end.digest:
            raise UserError(f'{end.run.path} (epoch {end.eid}) has other weights than when {like} was trained, so this '
                            'would be another curve; leave out --like, and name the ends')
