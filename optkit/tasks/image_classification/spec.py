"""What is known of image classification without torch."""

from __future__ import annotations

from optkit.tasks.spec import Call, TaskType

_PHOTO = 'Image.open("photo.jpg")'

IMAGE_CLASSIFICATION = TaskType(
    name="image-classification",
    summary="One label for an image.",
    implementation="ImageClassification",
    auto_class="AutoModelForImageClassification",
    ov_class="OVModelForImageClassification",
    outputs=("logits",),
    metrics=("accuracy", "f1", "matthews_correlation"),
    reads="images",
    classes_of="inputs",
    call=Call(_PHOTO, (_PHOTO,)),
)
