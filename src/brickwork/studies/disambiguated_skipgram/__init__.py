"""The study of Disambiguated Skip-gram: senses that are known, found by it and by its rivals."""
