/**
 * Verbs about certificates that come from elsewhere and go there.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import { withKeeper } from "./keeper.ts";
import { textFlag, type Verbs } from "./verbs.ts";

const READ = { canOrder: false };

export function declareBringVerbs({ verb, terminal }: Verbs): void {
  verb(
    {
      name: "import <path>",
      about:
        "Bring a certificate: a PEM or PKCS#12 file, certbot's folder or Caddy's. It serves every site that it covers, and is renewed here when it is due.",
      examples: ["gatehouse import /etc/letsencrypt", "gatehouse import nas.p12 --password-file password"],
      takes: ["admin", "json"],
      options: [
        ["--key <file>", "the private key, when it lies in a file of its own"],
        ["--chain <file>", "intermediate certificates, when they lie in a file of their own"],
        ["--password-file <file>", "where the password of the file stands; - is standard input"],
        ["--name <name>", "for this site alone"],
        ["--alone", "take a certificate whose chain is missing"],
        ["--force", "also in place of one that is valid for longer"],
      ],
    },
    async (flags, [path = ""]) => {
      const { importCertificates } = await import("./import.ts");
      const wanted = {
        path,
        key: textFlag(flags, "key"),
        chain: textFlag(flags, "chain"),
        passwordFile: textFlag(flags, "passwordFile"),
        name: textFlag(flags, "name"),
        force: flags["force"] === true,
        isAlone: flags["alone"] === true,
        json: flags.json === true,
      };
      return withKeeper(flags, terminal, READ, (client) => importCertificates(client, wanted, terminal));
    },
  );
  verb(
    {
      name: "export <name> <file>",
      about:
        "Write a certificate with its private key into a new file: PEM, or PKCS#12 when it ends in .p12 or .pfx. - writes PEM to standard output.",
      examples: [
        "gatehouse export nas.example.org nas.pem",
        "gatehouse export nas.example.org nas.p12 --password-file password",
      ],
      takes: ["admin", "json"],
      options: [
        ["--password-file <file>", "where the password for a PKCS#12 file stands; - is standard input"],
        ["--modern", "PKCS#12 with AES-256 and SHA-256; without it, with what every device reads"],
      ],
    },
    async (flags, [name = "", file = ""]) => {
      const { exportCertificate } = await import("./import.ts");
      const isModern = flags["modern"] === true;
      const wanted = { name, file, passwordFile: textFlag(flags, "passwordFile"), isModern, json: flags.json === true };
      return withKeeper(flags, terminal, READ, (client) => exportCertificate(client, wanted, terminal));
    },
  );
}

export function declareClientCertVerbs(verbs: Verbs): void {
  const { terminal } = verbs;
  const { verb } = verbs.group({
    name: "client-cert",
    about: "Certificates that let the telephones and laptops of the house in, on sites with clientCert.",
    examples: ["gatehouse client-cert add anna-phone", "gatehouse client-cert ls"],
  });
  verb(
    {
      name: "add <name>",
      about:
        "Make one: writes a .p12 file for the device, which opens with the password that is shown. Key and password are kept nowhere else.",
      examples: [
        "gatehouse client-cert add anna-phone",
        "gatehouse client-cert add 'Anna laptop' --out anna.p12 --days 365",
      ],
      takes: ["admin", "json"],
      options: [
        ["--out <file>", "the file to write (default: the name with .p12, here)"],
        ["--days <days>", "how long it is accepted, at most 3650 (default: 730)"],
        ["--password-file <file>", "where a password of your own stands; - is standard input"],
        ["--modern", "AES-256 and SHA-256, for devices of the last years; without it, with what every device reads"],
      ],
    },
    async (flags, [name = ""]) => {
      const { addClientCert } = await import("./client-cert.ts");
      const wanted = {
        name,
        out: textFlag(flags, "out"),
        days: textFlag(flags, "days"),
        passwordFile: textFlag(flags, "passwordFile"),
        isModern: flags["modern"] === true,
        json: flags.json === true,
      };
      return withKeeper(flags, terminal, READ, (client) => addClientCert(client, wanted, terminal));
    },
  );
  verb(
    {
      name: "ls",
      about: "List them, newest first, those that are over included.",
      examples: ["gatehouse client-cert ls", "gatehouse client-cert ls --json"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { listClientCerts } = await import("./client-cert.ts");
      return withKeeper(flags, terminal, READ, (client) => listClientCerts(client, flags.json === true, terminal));
    },
  );
  verb(
    {
      name: "revoke <name>",
      about: "Let a device in no longer; its open connections end at once.",
      examples: ["gatehouse client-cert revoke anna-phone", "gatehouse client-cert revoke anna-phone --json"],
      takes: ["admin", "json"],
    },
    async (flags, [name = ""]) => {
      const { revokeClientCert } = await import("./client-cert.ts");
      return withKeeper(flags, terminal, READ, (client) =>
        revokeClientCert(client, name, flags.json === true, terminal),
      );
    },
  );
}
