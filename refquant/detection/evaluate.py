"""Average precision of a model on a data set: each image is computed once, by anyone, then scored.

    jobs_of(dataset, protocol, stride) -> one job per image               tasks.py    (1)
    Task(job) -> Outcome: results, or why there are none                  tasks.py    (2)
    what is done is written down, and not done again                      run_log.py  (3)
    score(dataset, results) -> CocoStats                                  score.py    (4)
    evaluate = (1), (2), (3), (4)

(2) is the work and may be spread over any executor; (4) puts everything into one order. So the
order of images, threads, workers, interruptions and resumptions change nothing, not one byte.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import DataSet, match_classes
from refquant.detection.predict import PROTOCOLS, Protocol
from refquant.detection.run_log import header_of, open_log
from refquant.detection.score import CocoStats, score
from refquant.detection.tasks import Job, Outcome, Task, file_bytes, jobs_of, outcomes, shared
from refquant.engine.walk import check_way
from refquant.graph.graph import Model

Progress = Callable[[int, int], None]


def evaluate(
    model: Model,
    dataset: DataSet,
    *,
    protocol: str = "square",
    size: int | None = None,
    conf: float = 0.001,
    iou: float = 0.65,
    nms: str | None = None,
    max_detections: int = 300,
    batch: int | None = None,
    threads: int = 1,
    arithmetic: str = "fast",
    executor: Executor | None = None,
    scratch: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CocoStats:
    """Measure the average precision of a model on a data set.

    Every image is computed once, by whoever is free, and the detections are then judged by
    pycocotools in an order of their own [1]_. So neither threads nor executors nor interruptions
    change a byte of the result.

    Parameters
    ----------
    model : Model
        The model. Its classes are matched with the categories of the data set by name, or else by
        order.
    dataset : DataSet
        The images and their true boxes.
    protocol : {"square", "yolov7", "detect"}, default: "square"
        How images are prepared: "square" takes the whole square, "yolov7" the rectangles and the
        non-maximum suppression of the public test code, "detect" the minimal rectangles of the
        public detect code.
    size : int, optional
        The longer side of the network's input in pixels; the model's own (`Model.input_size`)
        where it is left out.
    conf : float, default: 0.001
        The score, in [0, 1], that a detection must exceed.
    iou : float, default: 0.65
        The intersection over union, in [0, 1], above which the worse of two boxes is dropped.
    nms : {"exact", "compat"}, optional
        The non-maximum suppression; the protocol's own where it is left out.
    max_detections : int, default: 300
        The number of detections per image that are kept, the best ones.
    batch : int, optional
        How many images share the rectangle of "yolov7", whose own number is 32.
    threads : int, default: 1
        The number of threads of one forward pass, in whatever process it runs.
    arithmetic : {"fast", "ref", "math"}, default: "fast"
        How the network is computed: "fast" and "ref" give the same bits, "math" is float64.
    executor : Executor, optional
        An executor of `concurrent.futures`, of Dask or of mpi4py that shares out the images; left
        out, they are computed here one by one.
    scratch : str or path-like, optional
        A folder that all workers of the executor can read, in which the model is put while they
        run; the system's folder of temporary files where it is left out.
    log : str or path-like, optional
        A file that keeps what is done: the same call goes on where the last one ended.
    progress : callable, optional
        It is called with the number of images that are done and the number of all images: at the
        start, then after every image.

    Returns
    -------
    CocoStats
        The twelve numbers of COCO, AP by category, the detections, and the images that failed.

    Raises
    ------
    BadInput
        If an option is out of its range, if classes and categories cannot be matched, if the log
        is of another evaluation, or if a worker dies. An image that cannot be read does not
        raise; it is listed in `failed`.

    References
    ----------
    .. [1] Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv:1405.0312.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> data = refquant.find_dataset("demo").only(range(1, 9))
    >>> stats = refquant.evaluate(model, data)
    >>> stats.images, round(stats.AP, 2), round(stats.AP50, 2)
    (8, 0.67, 0.92)
    >>> with ThreadPoolExecutor(2) as executor:
    ...     refquant.evaluate(model, data, executor=executor) == stats
    True
    """
    check_way(arithmetic, threads)  # Otherwise every image would fail for it.
    side = model.input_size if size is None else size
    rules = protocol_of(protocol, side, conf, iou, nms, max_detections, batch)
    jobs = jobs_of(dataset, rules, model.stride)
    task = Task(model, dataset.folder, rules, match_classes(model.class_names, dataset))
    task = replace(task, threads=threads, arithmetic=arithmetic)
    done = run_all(model, task, jobs, executor, scratch, log, progress)
    failed = [
        {"image": job.image.file_name, "error": done[job.image.id].error}
        for job in sorted(jobs, key=lambda job: job.image.id)
        if done[job.image.id].error
    ]
    return score(dataset, (r for outcome in done.values() for r in outcome.results), failed)


def protocol_of(
    name: str,
    size: int,
    conf: float,
    iou: float,
    nms: str | None,
    most: int,
    batch: int | None,
) -> Protocol:
    """The protocol of that name, with these choices in place of its own."""
    rules = replace(PROTOCOLS[name], size=size, conf=conf, iou=iou, most=most)
    if batch is not None and not rules.batch:
        raise BadInput(f"batch={batch}", f"protocol {name} has no batches", "leave it out")
    if batch is not None and batch < 1:
        raise BadInput(f"batch={batch}", "choose 1 or more")
    return replace(rules, nms=nms or rules.nms, batch=batch or rules.batch)


def run_all(
    model: Model,
    task: Task,
    jobs: Sequence[Job],
    executor: Executor | None,
    scratch: str | os.PathLike[str] | None,
    log: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Mapping[int, Outcome]:
    """What became of every image, by image id."""
    opened = open_log(log, header_of(model, task, jobs)) if log is not None else nullcontext()
    with opened as book:
        done = still_valid(task, jobs, book.known) if book else {}
        todo = [job for job in jobs if job.image.id not in done]
        if progress:
            progress(len(done), len(jobs))
        with shared(model, executor if todo else None, scratch) as ready:
            for outcome in computed(replace(task, model=ready), todo, executor):
                done[outcome.image_id] = outcome
                if book and not outcome.error:
                    book.add(outcome)
                if progress:
                    progress(len(done), len(jobs))
    return done


def still_valid(
    task: Task, jobs: Iterable[Job], known: Mapping[int, Outcome]
) -> dict[int, Outcome]:
    """What the log knows of the images of these jobs whose files still have the same size."""
    return {
        image.id: known[image.id]
        for image, _ in jobs
        if image.id in known
        and known[image.id].file_bytes == file_bytes(task.folder / image.file_name)
    }


def computed(task: Task, jobs: Sequence[Job], executor: Executor | None) -> Iterable[Outcome]:
    """The outcomes of the jobs; a worker that cannot see the model's file is told in one line."""
    try:
        yield from outcomes(task, jobs, executor)
    except FileNotFoundError as error:
        raise BadInput(
            error.filename or "the model's file",
            "a worker does not see it",
            "choose a scratch folder that all workers share",
        ) from error
