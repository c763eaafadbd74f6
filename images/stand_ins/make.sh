#!/bin/sh
# Makes stand-ins of the two base images, python:3.11-slim-bookworm and postgres:15-bookworm, out
# of Debian packages, where podman and debootstrap are installed and no image registry is reached.
# Root, once: `sh images/stand_ins/make.sh`. IMAGE_BUILD_ARGS as in `make images`.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! podman image exists docker.io/library/python:3.11-slim-bookworm; then
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
        bookworm "$folder/root" > "$folder/log" || { tail -20 "$folder/log"; exit 1; }
    tar -C "$folder/root" -c . | podman import --quiet - docker.io/library/python:3.11-slim-bookworm
fi
# shellcheck disable=SC2086 # arguments, not one
podman build --quiet --network=host ${IMAGE_BUILD_ARGS:-} --file images/stand_ins/postgres.Dockerfile \
    --tag docker.io/library/postgres:15-bookworm .
