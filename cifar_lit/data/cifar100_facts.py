"""What is known of CIFAR-100 (Krizhevsky 2009) without looking at an image: classes, superclasses, sizes, files, sums."""

_MEMBERS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASSES = tuple(_MEMBERS)
SUPERCLASS = {name: index for index, names in enumerate(_MEMBERS.values()) for name in names.split()}
CLASSES = tuple(sorted(SUPERCLASS))  # alphabetical is the order of the official labels
SUPERCLASS_OF = tuple(SUPERCLASS[name] for name in CLASSES)

PER_CLASS = {"train": 500, "test": 100}
SIZES = (PER_CLASS["train"] * len(CLASSES), PER_CLASS["test"] * len(CLASSES))
IMAGE_SIZE = 32

MD5 = {
    "archive": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
EXTRACTED = "cifar-100-python"
ARCHIVE = "cifar-100-python.tar.gz"
