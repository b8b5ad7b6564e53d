"""What the battery has to know of embedding-survey."""

UNTESTED = {
    "phrases": "no made-up words stand together that often; tests/systems/test_embedding_survey.py",
    "debias": "needs data.word_lists; tests/systems/test_embedding_survey_bias.py",
    "target": "a file of the user; tests/systems/test_embedding_survey.py",
    "data.word_lists": "beside the examples; tests/systems/test_embedding_survey_bias.py",
    "data.dictionary": "beside the examples; tests/systems/test_embedding_survey.py",
}
CANDIDATES = {
    "method": ["cbow"],
    "dimensions": [5],
    "vocabulary": [20],
    "min_count": [30],
    "max_share": [0.5],
    "pooling": ["mean"],
    "window": [2],
    "epochs": [1],
    "learning_rate": [0.5],
    "negatives": [1],
    "sample": [0.5],
    "buckets": [300],
    "remove_top": [1],
}
