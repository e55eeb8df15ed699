/** The commands of `hubcap`: what each is for and which options it takes. What they do is in `main.ts`. */
import type { parseArgs } from "node:util";

/** An option, as `parseArgs` of node:util takes it, with a word for its value and a sentence for people. */
export interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  /** May be given more than once. */
  readonly multiple?: boolean;
  readonly value?: string;
  readonly description: string;
}

/** A command, as its help shows it. */
export interface Command {
  readonly summary: string;
  /** What follows the options, such as `IMAGE`; empty for a command without operands. */
  readonly operands: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly example: string;
}

const config = {
  type: "string",
  short: "c",
  value: "FILE",
  description: "The configuration; the shipped config/hubcap.yaml unless given.",
} as const;

const status = {
  type: "string",
  value: "URL",
  description: "The status listener to ask; http://127.0.0.1:5001 unless given.",
} as const;

/** All commands; `hubcap --help` lists them in this order. */
export const commands = {
  serve: {
    summary: "Run the mirror. This is what `hubcap` does without a command.",
    operands: "",
    options: {
      config,
    },
    example: "hubcap serve --config /etc/hubcap/hubcap.yaml",
  },
  quota: {
    summary: "Show how many pulls of each upstream are left, as a running Hubcap counts them.",
    operands: "",
    options: {
      status,
      upstream: {
        type: "string",
        value: "NAME",
        description: "Only this upstream, such as docker.io.",
      },
      "fail-below": {
        type: "string",
        value: "N",
        description: "End with 1 when fewer pulls are left, or when it is not known how many.",
      },
      json: { type: "boolean", description: "Print what the status API answers." },
    },
    example: "hubcap quota --upstream docker.io --fail-below 20 && kubectl apply -f release.yaml",
  },
  cache: {
    summary: "Show what a running Hubcap holds, and say what it lets go of or keeps.",
    operands: "ls | rm IMAGE… | evict | pins | pin IMAGE… | unpin IMAGE…",
    options: {
      status,
      "token-file": {
        type: "string",
        value: "FILE",
        description: "A file with the admin token, which all but ls and pins need.",
      },
      "dry-run": { type: "boolean", description: "For rm and evict: only show what would go." },
      json: { type: "boolean", description: "Print JSON, as the status API answers it." },
    },
    example: "hubcap cache rm --dry-run --token-file /run/secrets/admin 'docker.io/library/*'",
  },
  doctor: {
    summary: "Say why an image cannot be pulled from here, step by step and in one sentence.",
    operands: "IMAGE",
    options: {
      mirror: {
        type: "string",
        value: "URL",
        description: "Also walk the way through this mirror, as a node does.",
      },
      platform: {
        type: "string",
        value: "OS/ARCH",
        description: "What the node needs; linux and this machine's architecture unless given.",
      },
      status: {
        type: "string",
        value: "URL",
        description: "The mirror's status listener; port 5001 of the mirror's host unless given.",
      },
      "token-file": {
        type: "string",
        value: "FILE",
        description: "A file with the token that the mirror asks of its clients.",
      },
      ca: { type: "string", value: "FILE", description: "An authority (PEM) to trust besides the system's." },
      timeout: {
        type: "string",
        value: "SECONDS",
        description: "How long a step may take; 30 for the mirror, and as configured for the registry.",
      },
      json: { type: "boolean", description: "Print one JSON document with the steps and the verdict." },
      config,
    },
    example: "hubcap doctor docker.io/library/nginx:1.29 --mirror http://hubcap.example:5000",
  },
  "client-config": {
    summary: "Print or write the files that make a container runtime pull through Hubcap.",
    operands: "containerd|crio|podman|docker|buildkit|k3s|rke2|talos",
    options: {
      mirror: {
        type: "string",
        value: "URL",
        description: "Hubcap's registry listener, as nodes reach it, such as http://hubcap.example:5000.",
      },
      upstream: {
        type: "string",
        value: "HOST",
        multiple: true,
        description: "A registry to mirror, once for each; those of the shipped configuration unless given.",
      },
      "no-fallback": {
        type: "boolean",
        description: "Never go to the registry itself, also when the mirror is down.",
      },
      node: {
        type: "string",
        value: "NAME",
        description: "Send the node's name, so that its pulls are counted by it (containerd).",
      },
      "token-file": {
        type: "string",
        value: "FILE",
        description: "A file with the token that Hubcap asks of its clients (containerd, k3s, rke2, talos).",
      },
      ca: {
        type: "string",
        value: "FILE",
        description: "The authority (PEM) of the mirror's certificate, where the node does not know it.",
      },
      write: {
        type: "string",
        value: "DIR",
        description: "Write the files below this folder; without it they are printed.",
      },
      remove: { type: "boolean", description: "Remove what was written below --write DIR." },
      stay: { type: "boolean", description: "Write, wait for SIGTERM, then remove." },
    },
    example:
      "hubcap client-config containerd --mirror http://hubcap.example:5000 --write /etc/containerd/certs.d",
  },
  warm: {
    summary: "Have a running Hubcap fetch images ahead, from what pulls leave of the quota.",
    operands: "[IMAGE…]",
    options: {
      status,
      "token-file": {
        type: "string",
        value: "FILE",
        description: "A file with the admin token, which this needs.",
      },
      file: {
        type: "string",
        short: "f",
        value: "FILE",
        description: "A list of images, one to a line, # begins a comment; - reads standard input.",
      },
      platform: {
        type: "string",
        multiple: true,
        value: "OS/ARCH",
        description: "What to fetch of an index, such as linux/amd64, or all; warm.platforms unless given.",
      },
      "from-cluster": {
        type: "boolean",
        description: "The images that pods use; pins them in the place of those that they used before.",
      },
      namespace: {
        type: "string",
        short: "n",
        multiple: true,
        value: "NAME",
        description: "With --from-cluster: only the pods of this namespace.",
      },
      kubeconfig: {
        type: "string",
        value: "FILE",
        description: "With --from-cluster: how to reach the Kubernetes API; the usual places unless given.",
      },
      wait: {
        type: "boolean",
        description: "When the quota runs low, wait until there is more, and go on.",
      },
      json: { type: "boolean", description: "Print how each image ended as JSON." },
    },
    example: "hubcap warm -f images.txt --platform linux/amd64 --token-file /run/secrets/admin",
  },
  export: {
    summary: "Write images that are held into one OCI layout archive, for a place without a network.",
    operands: "IMAGE…",
    options: {
      output: { type: "string", short: "o", value: "FILE", description: "The archive to write." },
      platform: {
        type: "string",
        value: "OS/ARCH",
        description: "Only this platform, such as linux/amd64; all that are held unless given.",
      },
      config,
    },
    example: "hubcap export -o images.tar docker.io/library/nginx:1.29 ghcr.io/org/app:v2",
  },
  import: {
    summary: "Take the images of an OCI layout archive into a store that no Hubcap is using.",
    operands: "FILE",
    options: {
      as: {
        type: "string",
        value: "IMAGE",
        description: "The name of the archive's one image, where the archive does not say it.",
      },
      config,
    },
    example: "hubcap import images.tar",
  },
  fsck: {
    summary: "Check that everything held is what its name says. Fails when something is not.",
    operands: "",
    options: {
      config,
      repair: {
        type: "boolean",
        description: "Put right what is found; Hubcap must not be running there.",
      },
      json: { type: "boolean", description: "Print one JSON document instead of lines." },
    },
    example: "hubcap fsck --repair --config /etc/hubcap/hubcap.yaml",
  },
} as const satisfies Readonly<Record<string, Command>>;

export type CommandName = keyof typeof commands;

/** What the command line gives to a command. */
export type Given<Name extends CommandName> = ReturnType<
  typeof parseArgs<{ options: (typeof commands)[Name]["options"]; allowPositionals: true }>
>;
