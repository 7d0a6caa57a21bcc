"""The names of models that the newest openai SDK knows, but for videos and realtime: a JSON list."""

import json
from typing import Literal, get_args, get_origin

from openai.types import AllModels, AudioModel, EmbeddingModel, ImageModel, ModerationModel
from openai.types.audio import SpeechModel


def names(kind):
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return set().union(*(names(one) for one in get_args(kind)))


kinds = (AllModels, AudioModel, EmbeddingModel, ImageModel, ModerationModel, SpeechModel)
print(json.dumps(sorted(set().union(*map(names, kinds)))))
