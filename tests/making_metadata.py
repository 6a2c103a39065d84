"""Pictures that say something of themselves, by EXIF, XMP or IPTC."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import ExifTags, Image

from mmsearch.metadata.fields import Metadata

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
  xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:digiKam="http://www.digikam.org/ns/1.0/"
  xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
  xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
  xmlns:MP="http://ns.microsoft.com/photo/1.2/"
  xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"
  xmp:Rating="4" photoshop:City="Lisboa" exif:GPSLatitude="38,43.338N"
  exif:GPSLongitude="9,8,21.48W">
 <photoshop:DateCreated>2020-01-02T03:04:05+01:00</photoshop:DateCreated>
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">The  old tram</rdf:li></rdf:Alt></dc:title>
 <dc:description><rdf:Alt><rdf:li xml:lang="x-default">A yellow tram climbs a hill.</rdf:li>
   <rdf:li xml:lang="de">Eine gelbe Bahn fährt bergauf.</rdf:li></rdf:Alt></dc:description>
 <dc:subject><rdf:Bag><rdf:li>tram</rdf:li><rdf:li>street</rdf:li></rdf:Bag></dc:subject>
 <lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Portugal|Lisbon</rdf:li></rdf:Bag>
 </lr:hierarchicalSubject>
 <digiKam:TagsList><rdf:Seq><rdf:li>Things/tram</rdf:li></rdf:Seq></digiKam:TagsList>
 <Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Anna Li</rdf:li></rdf:Bag>
 </Iptc4xmpExt:PersonInImage>
 <mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>
  <rdf:li><rdf:Description mwg-rs:Name="Ben" mwg-rs:Type="Face"/></rdf:li>
  <rdf:li rdf:parseType="Resource"><mwg-rs:Name>Rex</mwg-rs:Name><mwg-rs:Type>Pet</mwg-rs:Type>
  </rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>
 <MP:RegionInfo><rdf:Description><MPReg:Regions><rdf:Bag><rdf:li
   MPReg:PersonDisplayName="Cem"/></rdf:Bag></MPReg:Regions></rdf:Description></MP:RegionInfo>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()
IN_XMP = Metadata(
    ("A yellow tram climbs a hill.", "Eine gelbe Bahn fährt bergauf."),
    {"title": "The old tram", "rating": 4, "city": "Lisboa", "latitude": 38.7223,
     "longitude": -9.1393, "taken": "2020-01-02T03:04:05+01:00",
     "keywords": ["tram", "street", "Places", "Portugal", "Lisbon", "Things"],
     "people": ["Anna Li", "Cem", "Ben"]})


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), "teal").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def exif(details: dict[int, Any] | None = None, gps: dict[int, Any] | None = None,
         **base: Any) -> Image.Exif:
    found = Image.Exif()
    for name, value in base.items():
        found[ExifTags.Base[name]] = value
    found.get_ifd(ExifTags.IFD.Exif).update(details or {})
    found.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    return found


def iptc(*sets: tuple[int, bytes], **options: Any) -> bytes:
    """A JPEG with an IPTC record in Photoshop's resources, as photo agencies write them."""
    record = b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text
                      for number, text in sets)
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(record)) + record + b"\0" * (
        len(record) % 2)
    segment = b"Photoshop 3.0\0" + resource
    data = jpeg(**options)
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
