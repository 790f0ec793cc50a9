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
