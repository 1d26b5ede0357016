"""279 bad inputs of the command line: name -> the words, and what the one line must hold.

A line of the table: NAME: WORDS => PARTS, the parts joined by " & ". The words are cut as a shell
does. {far} is a number of 65 bits, {long} a name of 300 bytes, {path} a path of 5,000.
"""

from __future__ import annotations

import shlex

FAR, LONG, PATH = str(2**65), "x" * 300, "/".join(["y" * 100] * 50)

TABLE = """
train, seed of 65 bits: train good.npz --seed {far} => seed = {far}
train, seed of 64 bits: train good.npz --seed 9223372036854775808 => 9223372036854775808
train, seed below 0: train good.npz --seed -1 => seed = -1
train, seed 1e30: train good.npz --seed 1e30 => --seed & 1e30
train, split seed too large: train good.npz --split-seed {far} => split_seed = {far}
train, subset seed too large: train good.npz --subset-seed {far} => subset_seed = {far}
train, noise seed too large: train good.npz --noise-seed {far} => noise_seed = {far}
train, 10^12 epochs: train good.npz --epochs 1000000000000 => epochs = 1000000000000
train, epochs in words: train good.npz --epochs three => --epochs & three
train, rate below 0: train good.npz --lr -0.1 => lr = -0.1
train, rate 1e9: train good.npz --lr 1e9 => lr = 1000000000.0
train, rate beyond floats: train good.npz --lr 1e400 => lr = inf
train, batch below 0: train good.npz --batch -5 => batch = -5
train, batch beyond the images: train good.npz --batch 5000 => batch = 5000
train, batch beyond those of a folder: train ok --batch 5000 => batch = 5000
train, crop beyond the image: train good.npz --batch 8 --crop 8 => crop = 8 & 8×8
train, crop beyond those of a folder: train ok --batch 8 --crop 300 => crop = 300 & 8×8
train, crop below 0: train good.npz --crop -1 => crop = -1
train, cutout 1e5: train good.npz --cutout 100000 => cutout = 100000
train, noise nan: train good.npz --label-noise nan => label_noise = nan
train, noise 1.5: train good.npz --label-noise 1.5 => label_noise = 1.5
train, val inf: train good.npz --val inf => val = inf
train, val 0.95: train good.npz --val 0.95 => val = 0.95
train, val below 0: train good.npz --val -0.1 => val = -0.1
train, momentum 1: train good.npz --momentum 1 => momentum = 1.0
train, decay below 0: train good.npz --weight-decay -1 => weight_decay = -1.0
train, threads 0: train good.npz --threads 0 => threads = 0
train, size 1e6: train ok --size 1000000 => size = 1000000
train, optimiser: train good.npz --optimizer adamm => 'adamm' & adamw
train, precision: train good.npz --precision fp16 => 'fp16' & bfloat16
train, layout: train good.npz --layout nhwc => 'nhwc' & channels_last
train, kernels: train good.npz --kernels fast => 'fast' & library
train, device: train good.npz --device gpu => 'gpu' & cuda
train, far GPU: train good.npz --device cuda:99999 => 'cuda:99999'
train, tracker: train good.npz --track wandbb => 'wandbb' & 'wandb'
train, split to evaluate: train good.npz --evaluate train,tset => tset
train, out empty: train good.npz --out "" => out '' & empty
train, out blank: train good.npz --out "  " => out '  '
train, out too long: train good.npz --out {path} => out 'yyyy
train, out of a long name: train good.npz --out {long} => out 'xxxx
train, out below a file: train good.npz --out file/runs => file & is a file
train, out a null: train good.npz --out "a\tb" => out 'a
train, model empty: train good.npz --model "" => model ''
train, model misspelt: train good.npz --model corse-2 => 'corse-2' & 'course-2'
train, model's field: train good.npz --model convnet,widht=3 => widht & width
train, model's value: train good.npz --model convnet,width=wide => wide
train, model of width 0: train good.npz --model convnet,width=0 => width = 0
train, factory without module: train good.npz --model :net => :net
train, factory without name: train good.npz --model users: => users:
train, factory of a missing module: train good.npz --batch 8 --model nowhere:net => nowhere:net
train, too many words: train good.npz other.npz => other.npz
train, flag misspelt: train good.npz --epohcs 3 => --epohcs & --epochs
train, flag without value: train good.npz --epochs => --epochs
train, missing data: train nowhere => 'nowhere'
train, data of a long name: train {long} => xxxx
train, data of a long path: train {path} => yyyy
train, data empty: train "" => ''
train, a file of text: train file => 'file'
train, an image: train ok/a/0.png => 'ok/a/0.png'
train, data misspelt: train fashion-mnits => 'fashion-mnits' & 'fashion-mnist'
train, CIFAR-100 without a file: train cifar100 => 'cifar100' & cifar100.npz & x_train
train, CIFAR-100 without a file: data info CIFAR-100 => 'CIFAR-100' & cifar-100.npz & 32×32×3
train, SVHN without a file: study svhn => 'svhn' & svhn.npz
recipe, missing: train --recipe nowhere.json => nowhere.json
recipe, a folder: train --recipe recipes => recipes & not a file
recipe, misspelt name: train --recipe cifar10-96 => cifar10-96
recipe, empty: train --recipe recipes/empty.json => recipes/empty.json & empty
recipe, torn: train --recipe recipes/torn.json => torn.json & line 1, column 12
recipe, a list: train --recipe recipes/list.json => list.json & not list
recipe, key twice: train --recipe recipes/twice.json => twice.json & 'epochs' stands twice
recipe, unknown key: train --recipe recipes/unknown.json => 'epoch' & 'epochs'
recipe, text for a number: train --recipe recipes/text-number.json => epochs = '10'
recipe, true for a number: train --recipe recipes/true-number.json => epochs = True
recipe, NaN: train --recipe recipes/nan.json => nan.json & NaN
recipe, 1e999: train --recipe recipes/huge.json => huge.json & 1e999
recipe, 5,000 digits: train --recipe recipes/many-digits.json => many-digits.json & digits
recipe, nested: train --recipe recipes/deep.json => deep.json & too deep
recipe, UTF-16: train --recipe recipes/utf16.json => utf16.json & not UTF-8
recipe, not UTF-8: train --recipe recipes/not-utf8.json => not-utf8.json & byte 10
recipe, no model: train --recipe recipes/null-model.json => null-model.json & model
recipe, unknown kind: train --recipe recipes/no-kind.json => 'resnet' & convnet
recipe, unknown key of a model: train --recipe recipes/misspelt-model.json => 'widht' & 'width'
recipe, factory without colon: train --recipe recipes/no-colon.json => 'users'
recipe, seed of 65 bits: train --recipe recipes/far-seed.json => {far}
recipe, width 0: train --recipe recipes/zero-width.json => width = 0
recipe, 2 MB: train --recipe recipes/padded.json => padded.json & 2,000,013 bytes
recipe, its data missing: train --recipe recipes/no-data.json => 'nowhere'
recipe, two in one file: train --recipe recipes/trailing.json => column 15
recipe, an image: train --recipe ok/a/0.png => ok/a/0.png
study, preset: study good.npz --preset fast => 'fast' & quick
study, chapter: study good.npz --chapters capacity,bset => 'bset' & 'best'
study, seeds below 0: study good.npz --seeds -1 => seeds = -1
study, seeds of 65 bits: study good.npz --seeds {far} => seeds = {far}
study, first seed of 65 bits: study good.npz --first-seed {far} => first_seed = {far}
study, workers below 0: study good.npz --workers -3 => workers = -3
study, val nan: study good.npz --val nan => val = nan
study, val too small for a folder: study ok --val 0.01 => 'ok' & no validation image
study, budget 0: study good.npz --budget 0s => '0s'
study, budget in days: study good.npz --budget 5d => '5d' & 10m
study, budget empty: study good.npz --budget "" => budget ''
study, budget of 10^9 hours: study good.npz --budget 1000000000h => '1000000000h'
study, silence: study good.npz --silence soon => silence 'soon'
study, sampler: study good.npz --sampler tpee => 'tpee' & tpe
study, trials 0: study good.npz --trials 0 => trials = 0
study, minutes nan: study good.npz --minutes nan => minutes = nan
study, out empty: study good.npz --out "" => out ''
study, out too long: study good.npz --out {path} => yyyy
study, out a file: study good.npz --out file => file & is a file
study, out no study: study good.npz --out ok => ok & not a study
study, resize: study ok --resize stretch => 'stretch' & squash
study, classes: study ok --classes nest => 'nest' & nested
study, columns of an .npz: study good.npz --columns path=x => columns = 'path=x'
images, folder empty: study empty => empty & no class folders
images, one class: study one-class => one-class & 'a'
images, a class without images: data info empty-class => empty-class & 'b'
images, classes by case: train by-case => 'Cat' & 'cat'
images, splits that differ: data info mismatch => mismatch & 'c'
images, one of each class: study single => single & too few
images, words: train words => words & no images
images, a loop: data info loop => loop & leads back
images, a link to nowhere: data info nowhere-link => nowhere-link & leads nowhere
images, a pipe: data info pipe => a/9.png & not a regular file
images, zero bytes: data info zero-bytes => b/x.png & empty file
images, torn JPEG: study torn-jpeg => b/x.jpg
images, torn PNG: train torn-png => b/x.png
images, text as PNG: data fetch text-png => b/x.png & not an image
images, HTML as JPEG: data info html-jpg => b/x.jpg & not an image
images, a bomb: data info bomb => b/x.png & megapixels
images, SVG as PNG: data info svg-png => b/x.png
images, a pointer of Git LFS: data info pointer => b/x.jpg
images, HEIC as JPEG: data info heic-jpg => b/x.jpg & HEIC
images, masks: data info masks => 'images', 'masks' & not classes
images, flat train and test1: study flat-train => test1/ and train/ & class folders
images, flat beside a table: data info flat => t.csv & holds 6 images
images, splits below a folder: train wrapped => train/images & class
images, two names of a split: data info two-vals => dev and val & keep one
images, an address: data info https://example.com/cats.zip => an address & download
images, an array of numpy: data info array.npy => 'array.npy' & .npz
images, a workbook: study book.xlsx => 'book.xlsx' & .csv
arrays, ranges of splits: data info ranges.npz => x_test goes to 255
arrays, H×W×N: data info hwn.npz => has shape
arrays, flat rows: data info rows.npz => has shape (40, 192)
arrays, labels from 1: data info from-one.npz => class '0' & from 0
arrays, several labels: data info several.npz => 3 labels for each image
arrays, no zip: train text.npz => text.npz
arrays, empty: data info empty.npz => empty.npz
arrays, torn: study torn.npz => torn.npz
arrays, names: data info other-names.npz => other-names.npz & apples
arrays, no labels: data info no-labels.npz => no-labels.npz
arrays, NaN: train nan-pixels.npz => nan-pixels.npz & not finite
arrays, pickled: data info text-labels.npz => text-labels.npz
arrays, NaN as label: data info nan-labels.npz => nan-labels.npz
arrays, half labels: data info half-labels.npz => half-labels.npz
arrays, labels below 0: data info negative-labels.npz => negative-labels.npz
arrays, fewer labels: data info fewer-labels.npz => 30 & 40
arrays, one label: study one-label.npz => one-label.npz
arrays, five axes: data info five-axes.npz => five-axes.npz
arrays, no images: data info no-images.npz => no-images.npz
arrays, with a size: data info good.npz --size 16 => size = 16
archive, up: data info up.zip => '../evil.png' & leads out
archive, deep up: data info deep-up.zip => data_evil & leads out
archive, absolute: train root.zip => '/evil.png' & absolute
archive, backslash: data info backslash.zip => evil.png & leads out
archive, bomb: data info many-zeros.zip => many-zeros.zip & more than
archive, file and folder: data info both.zip => both.zip & is a file and a folder
archive, encrypted: data info locked.zip => locked.zip & encrypted
archive, torn: study torn.zip => torn.zip
archive, empty: data info empty.zip => empty.zip
archive, HTML: data info html.zip => html.zip
archive, no images: data info no-images.zip => no-images.zip
archive, bad image: data info bad-image.zip => b/9.png & not an image
archive, nothing there: data info good.zip/below => 'below'
archive, in an archive: data info nested.zip => 'good.zip' & unpack
archive, folders alone: data info folders.zip => no images
archive, a table of ids: data info ids.zip => t.csv & --columns
archive, a zip named tar: data info zip.tar.gz => zip.tar.gz & not a whole .tar & a .zip
archive, a tar named zip: data info tar.zip => tar.zip & not a whole .zip
archive, tar up: data info up.tar => '../evil.png' & leads out
archive, tar link: data info link.tar => 'a/9.png' & is a link
archive, tar hard link: data info hard-link.tar => 'a/9.png' & is a link
archive, tar pipe: data info pipe.tar => 'a/9.png'
archive, torn tar: data info torn.tar.gz => torn.tar.gz
table, empty: data info empty.csv => empty.csv & empty
table, header alone: data info header.csv => header.csv & no rows
table, no label: data info no-label.csv => no-label.csv & label
table, ragged: train ragged.csv => ragged.csv & 4 fields
table, binary: data info binary.csv => binary.csv & not a text file
table, missing files: data info missing.csv => missing.csv & not/a.png
table, one class: study one-class.csv => one-class.csv & 'x'
table, in two splits: data info two-splits.csv => 'ok/a/0.png' & train and test
table, two labels: data info two-labels.csv => 'label' & 'class'
table, no train: data info no-train.csv => no-train.csv & no train
table, no encoding: data info neither.csv => neither.csv & UTF-8
table, half UTF-16: data info half.csv => half.csv
table, a quote left open: data info quote.csv => quote.csv
table, no row labelled: data info unlabelled.csv => unlabelled.csv
table, no parquet: data info bad.parquet => bad.parquet
table, empty parquet: data info empty.parquet => empty.parquet
table, a folder: data info folder.csv => folder.csv
table, a folder as arrays: data info folder.npz => folder.npz
table, columns twice: data info twice.csv => 'label', 'label' & rename
table, addresses: data info web.csv => https://example.com/0.png & download
table, one column each class: data info ones.csv => 'MEL', 'NV' & single 1
table, several labels: data info labels.csv => several labels
table, one group: study one-group.csv => one-group.csv & no group can be held out
table, one image of a class: train single.csv => class 'z' & 1 training image
table, labels by case: data info by-case.csv => 'X' & 'x'
table, paths of another machine: data info far.csv => none of its files & 'C:/a/0.png'
table, pixels in cells: data info pixels.csv => 'pixel0' & .npz
table, unknown role: data info ok.csv --columns image=path => image & path
table, unknown column: data info ok.csv --columns label=kind => kind & label
table, unknown group: data info ok.csv --group-by patient => 'patient'
table, group of a folder: data info ok --group-by patient => 'patient' & parent
hub, no name: data info hf: => 'hf:'
hub, up: data info hf:../x => 'hf:../x'
hub, blanks: data fetch "hf:a b" => 'hf:a b'
fetch, misspelt: data fetch cifra10 => 'cifra10' & 'cifar10'
fetch, size: data fetch cifar10 --size 16 => size = 16
fetch, nothing: data fetch => data
data, misspelt command: data fecth cifar10 => 'fecth' & fetch
predict, no run: predict ok ok/a/0.png => 'ok' & no finished run
predict, no folder: predict nowhere ok/a/0.png => 'nowhere' & no such folder
predict, coverage: predict ok ok --coverage 3 => coverage 3
predict, two forms: predict ok ok --json --csv => --json and --csv
export, to a file: export ok --to file => to 'file' & is a file
export, to nothing: export ok --to "" => to '' & empty
export, to a path too long: export ok --to {path} => to 'yyyy
export, no run: export ok --to network => 'ok' & no finished run
images, a pattern: data info ok/*/*.png => 'ok/*/*.png' & a pattern
compare, one: compare ok => B
compare, the same: compare ok ok => 'ok'
compare, missing: compare nowhere elsewhere => A: 'nowhere'
compare, empty: compare "" ok => A: ''
compare, no runs: compare ok one-class => A: & ok
compare, a file of text: compare file ok => recipe file
compare, a recipe that is none: compare recipes/torn.json recipes/nan.json => torn.json
compare, a path too long: compare {path} ok => A: 'yyyy
compare, margin 0: compare ok one-class --margin 0 => margin 0
compare, margin nan: compare ok one-class --margin nan => margin nan
compare, measure: compare ok one-class --measure acuracy => 'acuracy' & accuracy
compare, split: compare ok one-class --split tset => 'tset' & test
compare, seeds: compare ok one-class --seeds 5-3 => seeds '5-3'
compare, seeds of 65 bits: compare ok one-class --seeds {far}-{far} => {far}
compare, looks 0: compare ok one-class --looks 0 => looks = 0
compare, looks of 65 bits: compare ok one-class --looks {far} => looks
compare, out empty: compare ok one-class --out "" => out ''
inspect, misspelt: inspect course-9 => 'course-9' & course-2
inspect, no module: inspect nowhere:net => nowhere:net
inspect, a factory that fails: inspect users:net => users:net & OSError & no
inspect, no attribute: inspect users:other => users:other & other
inspect, words as input: inspect softmax --input axbxc => 'axbxc'
inspect, below 0: inspect softmax --input 3x-1x5 => '3x-1x5'
inspect, huge: inspect softmax --input 3x99999999x1 => '3x99999999x1'
inspect, classes below 0: inspect softmax --classes -1 => classes = -1
inspect, 10^9 classes: inspect softmax --classes 1000000000 => 1000000000
inspect, depth beyond the image: inspect convnet,depth=9 => depth = 9
probe, misspelt: probe relo => 'relo' & 'relu'
probe, no module: probe nowhere:f => nowhere:f
probe, no attribute: probe math:nothing => math:nothing
probe, no function: probe math:pi => math:pi
probe, shape of 0: probe relu --shape 0x1 => '0x1'
probe, one number: probe relu --shape 5 => '5'
probe, seed of 65 bits: probe relu --seed {far} => seed & {far}
probe, seed below 0: probe relu --seed -1 => seed & -1
runs, missing: runs nowhere => 'nowhere'
runs, a file: runs file => 'file'
runs, a long path: runs {path} => yyyy
runs, two folders: runs ok one-class => one-class
report, missing: report nowhere => nowhere
report, a file: report file => file
report, empty: report "" => study ''
report, a long path: report {path} => yyyy
report, no study: report ok => ok & study.json
report, torn: report torn-study => torn-study & line 1
report, a list: report list-study => list-study
report, empty study.json: report empty-study => empty-study & empty
report, another JSON: report other-study => other-study
report, nested: report deep-study => deep-study & too deep
doctor, kernels: doctor --kernels fast => 'fast' & library
doctor, a word: doctor now => now
explain, misspelt: explain widht => 'widht' & 'width'
explain, empty: explain "" => ''
explain, two words: explain width depth => depth
suspects, missing: data suspects nowhere => 'nowhere'
suspects, no runs: data suspects ok => 'ok' & no finished run
suspects, below 0: data suspects ok --most -1 => most = -1
no command: tarin => 'tarin' & train
"""


def cases() -> dict[str, tuple[list[str], list[str]]]:
    """Name -> the words of the command, and what its line must hold."""
    found = {}
    for line in TABLE.strip().splitlines():
        name, rest = line.split(": ", 1)
        words, parts = rest.split(" => ")
        found[name] = (
            [filled(word) for word in shlex.split(words)],
            [filled(part) for part in parts.split(" & ")],
        )
    return found


def filled(text: str) -> str:
    return text.replace("{far}", FAR).replace("{long}", LONG).replace("{path}", PATH)
